"""Serving the page: an address, a port that is free, and a style without anybody else's servers."""

import os
import socket
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI

from lorweb_bench.errors import InputError
from reference_model.ui.page import EXAMPLES

STYLE = Path(__file__).with_name("style.css")
LARGEST_UPLOAD = "64mb"
SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
PORTS = range(7860, 7960)  # of which the first free one is taken


def web_app(page: gr.Blocks) -> FastAPI:
    """The page as a web application."""
    theme = gr.themes.Base(
        primary_hue="indigo", neutral_hue="slate", font=SYSTEM_FONTS, font_mono=("monospace",)
    )
    # Gradio's own launch would ask its server for the page, and give up where that takes long.
    return gr.mount_gradio_app(
        FastAPI(),
        page,
        path="/",
        theme=theme,
        css=STYLE.read_text(),
        max_file_size=LARGEST_UPLOAD,
        allowed_paths=[str(EXAMPLES)],
        footer_links=["api"],
        ssr_mode=False,
    )


def serve(page: gr.Blocks, host: str | None = None, port: int | None = None) -> None:
    """Serve a page until it is stopped.

    Args:
        page: what `build_page` made.
        host: the address; without it that of GRADIO_SERVER_NAME, which Spaces set, or 127.0.0.1.
        port: without it that of GRADIO_SERVER_PORT, or the first free one from 7860 on.

    Raises:
        InputError: the port is taken, or the address is not of this machine.
    """
    host = host or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    given = port or int(os.environ.get("GRADIO_SERVER_PORT", "0"))
    with _bound(host, given) as listening:
        shown = "127.0.0.1" if host == "0.0.0.0" else host
        print(f"http://{shown}:{listening.getsockname()[1]}", flush=True)
        server = uvicorn.Server(uvicorn.Config(web_app(page), log_level="warning"))
        server.run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    """A socket at the address, on the port or, where that is 0, the first free one."""
    for tried in [port] if port else PORTS:
        listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, tried))
        except OSError as error:
            listening.close()
            if port or tried == PORTS[-1]:
                raise InputError(
                    f"the page cannot be served at {host}, port {tried} "
                    f"({error.strerror or error}); name another one with --host or --port"
                ) from error
            continue
        listening.listen()  # a browser that comes before the page is made waits for it
        return listening
    raise AssertionError("the loop returns or raises")

"""What the page says, as HTML: the checkpoint, the mix, its neighbours, notes and errors."""

from collections.abc import Iterable
from html import escape

from reference_model.applying.analogy import AnalogyModel, Look

WIDTH, HEIGHT, GAP = 640, 96, 2  # of the bars, in the drawing's units
LISTED = 400  # trained transformations that are written out


def about(model: AnalogyModel) -> str:
    """What the checkpoint is and what it knows."""
    config = model.config
    trained_on = model.about.get("training_dataset", {})
    parts = [
        f"<strong>{escape(model.name())}</strong> on the base <code>{escape(config.base)}</code>, "
        f"which works at {model.sizes}: pictures are brought to that size for it, and the answer "
        "to b’s."
    ]
    if trained_on:
        name = escape(f"{trained_on['name']} {trained_on['version']}")
        parts.append(f"It was trained on <code>{name}</code>.")
    if config.prompt == "none":
        parts.append("It was trained without prompts, so an empty one suits it best.")
    return f'<p class="about">{" ".join(parts)}</p>{_known(model)}'


def _known(model: AnalogyModel) -> str:
    if model.known is None:
        return (
            '<p class="about">The checkpoint does not say which transformations it was trained '
            "on, so nothing is said of how strange an analogy is.</p>"
        )
    named = range(len(model.known.names))
    single = [i for i in named if "__" not in model.known.names[i]]
    words = sorted({model.known.in_words(i) for i in single})
    items = "".join(f"<li>{escape(word)}</li>" for word in words[:LISTED])
    rest = len(named) - min(len(words), LISTED)
    more = f"<p>… and {rest:,} more, most of them two of these in a row.</p>" if rest else ""
    return (
        f"<details><summary>The {len(named):,} transformations that it was trained on</summary>"
        f'<ul class="known">{items}</ul>{more}</details>'
    )


def look_at(look: Look) -> str:
    """The mix as bars, its nearest trained transformations, and a word on a strange analogy."""
    parts = []
    if look.nearest:
        items = [
            f"<li>{escape(near.words)} <small>mixed {near.distance:.2f} apart</small></li>"
            for near in look.nearest
        ]
        parts.append(f"<h3>Nearest known transformations</h3><ol>{''.join(items)}</ol>")
    if warning := look.warning():
        parts.append(message([_sentence(warning)], "warning"))
    elif look.distance is not None and look.threshold is not None:
        parts.append(
            f"<p>The pair looks like the training data: its features are {look.distance:.2f} from "
            f"the nearest transformation’s, and up to {look.threshold:.2f} is usual.</p>"
        )
    if look.elements is not None:
        parts.append(f"<h3>The mix</h3>{bars(look.elements)}")
    if not parts:
        parts.append(
            "<p>This checkpoint looks at no pair: it adapts the base to every analogy "
            "in the same way.</p>"
        )
    return f'<div class="look">{"".join(parts)}</div>'


def bars(elements: tuple[float, ...]) -> str:
    """The mean size over layers of each element's coefficient, as a drawing with words."""
    greatest = max(elements) or 1.0
    step = WIDTH / len(elements)
    drawn = []
    for number, size in enumerate(elements):
        height = HEIGHT * size / greatest
        drawn.append(
            f'<rect x="{number * step + GAP / 2:.1f}" y="{HEIGHT - height:.1f}" '
            f'width="{max(1.0, step - GAP):.1f}" height="{height:.1f}" rx="1.5">'
            f"<title>element {number + 1}: {size:.3f}</title></rect>"
        )
    order = sorted(range(len(elements)), key=lambda i: -elements[i])[:3]
    largest = ", ".join(f"element {i + 1} ({elements[i]:.2f})" for i in order)
    return (
        f'<svg class="bars" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" preserveAspectRatio="none" '
        f'aria-label="Coefficients of {len(elements)} elements; the largest: {largest}">'
        f"{''.join(drawn)}</svg>"
        f"<p><small>The size of each of the {len(elements)} elements’ coefficients, mean over "
        f"layers; the largest: {largest}.</small></p>"
    )


def message(sentences: Iterable[str], kind: str = "note") -> str:
    """Sentences in a box: a `note`, a `warning`, or an `error`; nothing where there is none."""
    text = " ".join(escape(sentence) for sentence in sentences)
    role = "alert" if kind == "error" else "status"
    return f'<div class="message {kind}" role="{role}">{text}</div>' if text else ""


def said(notes: Iterable[str]) -> str:
    """Notes as sentences in a box."""
    return message([_sentence(note) for note in notes])


def refused(sentence: str) -> str:
    """What went wrong, in one sentence."""
    return message([_sentence(sentence)], "error")


def _sentence(text: str) -> str:
    begun = text if text[:2] in ("a ", "a'", "b ") else text[:1].upper() + text[1:]
    return (
        begun if begun.endswith((".", "!", "?", ")")) and not begun.endswith(")") else f"{begun}."
    )

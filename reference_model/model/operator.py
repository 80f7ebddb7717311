"""The operator of the tiny base: how the transformer's tokens become an edit of b's own pixels.

A residual of patches has to redraw every pixel that an edit moves or recolours, and leaves a grid
of blocks. The operator instead says what is done to b, and does it: each token predicts numbers,
and they displace b's pixels, bend its tones, mix in blurred and filtered copies, recolour it from
place to place, and draw with masks in overlapping windows. All zeros hand b back. HDRNet
(arXiv 1707.02880) predicts local affine colours on a coarse grid in the same spirit.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCH = 16  # pixels of a token's side
NODES = 4  # displacements along a token's side
SETS = 6  # the red, green and blue of the edited picture, and of the one that masks let through
PLACES = 5  # channels that tell where a pixel lies
LUMA = (0.299, 0.587, 0.114)
SMALL_SHIFT = 0.01  # in halves of the picture: shifts well below it are taken for none
STRIP = 250_000  # pixels of a large picture that are worked on at once
LEAK = 0.05  # of what exceeds the range of colours, so that it keeps a gradient


class EditOperator(nn.Module):
    """Edits a picture as the numbers of its tokens say.

    Args:
        window: Side in pixels of the window that a token draws in, at least 16 and even; what
            exceeds 16 overlaps with the neighbours and fades into theirs.
        filters: Channels of the two convolutions.
        knots: Points of a tone curve.

    `outputs` is how many numbers a token predicts. With `supervised_displacement`, pixels send no
    gradient to the displacement: pretraining knows where the pixels of its edits come from.
    """

    def __init__(self, window: int = 24, filters: int = 32, knots: int = 19) -> None:
        super().__init__()
        self.window, self.filters, self.knots = window, filters, knots
        self.supervised_displacement = False
        self.curve_terms = 4 * (knots - 1) + 4  # ramps of r, g, b and luma; r, g, b themselves; 1
        self.sizes = {
            "displacement": 2 * NODES**2,
            "colours": SETS * 4,
            "blurs": SETS * 12,
            "blocks": SETS * 6,
            "filters": 4 * filters,
            "curves": SETS * self.curve_terms,
            "windows": 4 * window**2,
        }
        self.outputs = sum(self.sizes.values())
        self.first_filter = nn.Conv2d(4 * (3 + PLACES), filters, 3, padding=1)
        self.second_filter = nn.Conv2d(filters, filters, 3, padding=1)
        self.last_filter = nn.Conv2d(filters, (SETS + 4) * 4, 1)
        for parameter in self.last_filter.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, numbers: Tensor, before: Tensor, rows: int, columns: int
    ) -> tuple[Tensor, Tensor]:
        """The edited pictures and the displacement that was applied.

        Args:
            numbers: What the tokens predict, (batch, rows * columns, outputs).
            before: Pictures (batch, 3, 16 * rows, 16 * columns) in [-1, 1].
            rows: Rows of tokens.
            columns: Columns of tokens.

        Returns:
            Pictures like `before`, and the displacement (batch, 2, 4 * rows, 4 * columns): from
            where each node of the result is taken, right and down of its own place, in halves of
            the picture's size.
        """
        with torch.autocast(before.device.type, enabled=False):
            before, parts = before.float(), self._parts(numbers, rows, columns)
            shift = F.pixel_shuffle(parts["displacement"], NODES)
            moved = displaced(before, pixel_places(before), self._shifts(shift))
            mixed, drawn = self._mix_and_draw(moved, parts)
            mixed = mixed + self._bend_tones(moved, parts["curves"])
            return joined(moved, mixed + recolour(moved, parts["colours"]), drawn), shift

    @torch.no_grad()
    def enlarge(
        self, numbers: Tensor, before: Tensor, large: Tensor, rows: int, columns: int
    ) -> Tensor:
        """The same edit of a larger copy of the picture, at that copy's size.

        What is done to a pixel by itself is done to the large picture's own: it is displaced, its
        tones are bent, its colours mapped. What looks at pixels around, or draws, is found on the
        small picture and enlarged. The large picture is worked through in strips.

        Args:
            numbers: What the tokens predicted, (1, rows * columns, outputs).
            before: The picture that they were predicted for, as in `forward`, a batch of one.
            large: The same picture (1, 3, height, width) of any size, in [-1, 1].
            rows: Rows of tokens.
            columns: Columns of tokens.

        Returns:
            A picture like `large`.
        """
        parts = self._parts(numbers, rows, columns)
        shifts = self._shifts(F.pixel_shuffle(parts["displacement"], NODES))
        small = displaced(before, pixel_places(before), shifts)
        drawn = torch.cat(self._mix_and_draw(small, parts), 1)
        places, strips = pixel_places(large), []
        for strip in places.split(max(1, STRIP // large.shape[3])):
            moved = displaced(large, strip, at_places(shifts, strip))
            here = at_places(drawn, strip)
            maps = at_places(parts["colours"], strip).unflatten(1, (SETS, 4))
            mixed = here[:, :SETS] + self._bend_tones(moved, parts["curves"])
            mixed = mixed + (maps[:, :, :3] * moved[:, None]).sum(2) + maps[:, :, 3]
            strips.append(joined(moved, mixed, here[:, SETS:]))
        return torch.cat(strips, 2)

    def _parts(self, numbers: Tensor, rows: int, columns: int) -> dict[str, Tensor]:
        """The numbers by what they are for, (batch, channels, rows, columns) each."""
        split = torch.split(numbers.float(), list(self.sizes.values()), 2)
        return {
            name: part.transpose(1, 2).unflatten(2, (rows, columns))
            for name, part in zip(self.sizes, split, strict=True)
        }

    def _mix_and_draw(self, moved: Tensor, parts: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What is mixed in of pixels around, and what is drawn: the mask and its colours."""
        filtered = self._filter(moved, parts["filters"])
        mixed = (
            self._mix_blurs(moved, parts["blurs"])
            + self._mix_blocks(moved, parts["blocks"])
            + filtered[:, :SETS]
        )
        return mixed, self._draw(parts["windows"]) + filtered[:, SETS:]

    def _shifts(self, shift: Tensor) -> Tensor:
        """The displacement (batch, 2, height, width) of each pixel, from that of the nodes.

        Shifts far below a pixel are drawn to nothing, so that what does not move stays sharp.
        """
        used = shift.detach() if self.supervised_displacement else shift
        square = used.square()
        used = used * square / (square + SMALL_SHIFT**2)
        return upsample(extend(used), NODES)[:, :, NODES:-NODES, NODES:-NODES]

    def _bend_tones(self, picture: Tensor, curves: Tensor) -> Tensor:
        """What tone curves of red, green, blue and luma add, the same ones for the whole picture.

        A curve is a sum of ramps, each rising from 0 to 1 between two neighbouring knots.
        """
        weights = curves.flatten(2).mean(2).unflatten(1, (SETS, self.curve_terms))
        flat = picture.flatten(2)
        luma = (flat * flat.new_tensor(LUMA)[:, None]).sum(1, keepdim=True)
        knots = torch.linspace(-1, 1, self.knots, device=picture.device)[:-1]
        rise = (torch.cat([flat, luma], 1)[:, :, None] - knots[:, None]) * ((self.knots - 1) / 2)
        ramps = rise.clamp(0, 1).flatten(1, 2)
        of_ramps, of_colours, constant = weights.split([ramps.shape[1], 3, 1], 2)
        added = of_ramps @ ramps + of_colours @ flat + constant
        return added.unflatten(2, picture.shape[2:])

    def _mix_blurs(self, picture: Tensor, weights: Tensor) -> Tensor:
        """What copies blurred over 4, 8, 16 and 32 pixels add, mixed at a quarter of the size."""
        pooled, copies = F.avg_pool2d(picture, 4), []
        for enlargement in (1, 2, 4, 8):
            copies.append(upsample(pooled, enlargement))
            pooled = F.avg_pool2d(pooled, 2, ceil_mode=True)
        size = copies[0].shape[2:]
        blurred = torch.cat([copy[:, :, : size[0], : size[1]] for copy in copies], 1)
        local = upsample(weights, 4).unflatten(1, (SETS, 12))
        return upsample((local * blurred[:, None]).sum(2), 4)

    def _mix_blocks(self, picture: Tensor, weights: Tensor) -> Tensor:
        """What the means of blocks of 8 and of 16 pixels add, with hard edges."""
        eights = F.avg_pool2d(picture, 8)
        blocks = torch.cat([eights, repeat(F.avg_pool2d(eights, 2), 2)], 1)
        local = repeat(weights, 2).unflatten(1, (SETS, 6))
        return repeat((local * blocks[:, None]).sum(2), 8)

    def _filter(self, picture: Tensor, modulation: Tensor) -> Tensor:
        """What two convolutions add, scaled and shifted as the tokens say, at half the size.

        They see where a pixel lies, so they can draw what has a place in the whole picture: to both
        pictures, and (the last four channels) to the mask and its colours.
        """
        scales = upsample(modulation, 8).split(self.filters, 1)
        seen = torch.cat([picture, place_channels(picture)], 1)
        hidden = convolve(self.first_filter, F.pixel_unshuffle(seen, 2))
        hidden = F.silu(torch.addcmul(scales[1], hidden, 1 + scales[0]))
        hidden = convolve(self.second_filter, hidden)
        hidden = F.silu(torch.addcmul(scales[3], hidden, 1 + scales[2]))
        return F.pixel_shuffle(convolve(self.last_filter, hidden), 2)

    def _draw(self, windows: Tensor) -> Tensor:
        """A mask and red, green and blue to add: the windows of all tokens, faded into another."""
        rows, columns = windows.shape[2:]
        overlap = self.window - PATCH
        fade = torch.ones(self.window, device=windows.device)
        if overlap:
            ramp = (torch.arange(overlap, device=windows.device) + 0.5) / overlap
            fade[:overlap], fade[-overlap:] = ramp, ramp.flip(0)
        each = windows.flatten(2).unflatten(1, (4, self.window**2)) * fade.outer(fade).view(-1, 1)
        size = (PATCH * rows, PATCH * columns)
        return F.fold(each.flatten(1, 2), size, self.window, stride=PATCH, padding=overlap // 2)


def leaky_clamp(colours: Tensor) -> Tensor:
    """Colours held to [-1, 1]; a twentieth of what exceeds it stays."""
    return (1 - LEAK) * colours.clamp(-1, 1) + LEAK * colours


def upsample(grid: Tensor, factor: int) -> Tensor:
    """A grid (batch, channels, rows, columns) enlarged by a whole factor, bilinear."""
    if factor == 1:
        return grid
    return F.interpolate(grid, scale_factor=factor, mode="bilinear", align_corners=False)


def repeat(grid: Tensor, factor: int) -> Tensor:
    """A grid (batch, channels, rows, columns) enlarged by a whole factor, in hard blocks."""
    return grid.repeat_interleave(factor, 2).repeat_interleave(factor, 3)


def extend(grid: Tensor) -> Tensor:
    """A grid (batch, channels, rows, columns) with one more node on each side, extrapolated."""
    first, last = 2 * grid[:, :, :1] - grid[:, :, 1:2], 2 * grid[:, :, -1:] - grid[:, :, -2:-1]
    tall = torch.cat([first, grid, last], 2)
    left, right = 2 * tall[..., :1] - tall[..., 1:2], 2 * tall[..., -1:] - tall[..., -2:-1]
    return torch.cat([left, tall, right], 3)


def joined(moved: Tensor, mixed: Tensor, drawn: Tensor) -> Tensor:
    """The edited picture, of what was mixed into it and into the one behind, and of the mask."""
    edited, behind = leaky_clamp(moved + mixed[:, :3]), mixed[:, 3:]
    return leaky_clamp(edited + drawn[:, :1] * (behind - edited) + drawn[:, 1:])


def displaced(picture: Tensor, places: Tensor, shifts: Tensor) -> Tensor:
    """The picture read, bilinear, at places (height, width, 2) plus shifts (batch, 2, ...)."""
    return F.grid_sample(
        picture, places + shifts.permute(0, 2, 3, 1), padding_mode="border", align_corners=False
    )


def at_places(grid: Tensor, places: Tensor) -> Tensor:
    """A grid (1, channels, rows, columns) over the picture, at places (height, width, 2)."""
    return F.grid_sample(grid, places[None], padding_mode="border", align_corners=False)


def pixel_places(picture: Tensor) -> Tensor:
    """The places (height, width, 2) of a picture's pixel centres, x and y from -1 to 1 across."""
    height, width, device = picture.shape[2], picture.shape[3], picture.device
    x = (torch.arange(width, device=device) + 0.5) * 2 / width - 1
    y = (torch.arange(height, device=device) + 0.5) * 2 / height - 1
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], 2)


def place_channels(picture: Tensor) -> Tensor:
    """Where pixels lie, (batch, 5, height, width): x, y, their sizes, and the distance's square."""
    places = pixel_places(picture).permute(2, 0, 1)
    squared = places.square().sum(0, keepdim=True)
    return torch.cat([places, places.abs(), squared]).expand(len(picture), -1, -1, -1)


def convolve(layer: nn.Conv2d, picture: Tensor) -> Tensor:
    """A convolution in float32, whatever type its weights are stored in."""
    assert layer.bias is not None
    padding = layer.kernel_size[0] // 2
    return F.conv2d(picture, layer.weight.float(), layer.bias.float(), padding=padding)


def recolour(picture: Tensor, weights: Tensor) -> Tensor:
    """What affine colour maps add that change from token to token, bilinear in between.

    Between the centres of four tokens lies a cell of 16 x 16 pixels. All four maps are applied
    to it, which is one matrix product, and the results are interpolated: that equals interpolated
    maps, without a map for every pixel.
    """
    batch, _, rows, columns = weights.shape
    edge = F.pad(weights, (1, 1, 1, 1), mode="replicate")
    corners = torch.stack(
        [edge[:, :, :-1, :-1], edge[:, :, :-1, 1:], edge[:, :, 1:, :-1], edge[:, :, 1:, 1:]], 1
    )
    maps = corners.unflatten(2, (SETS, 4)).permute(0, 4, 5, 1, 2, 3).reshape(-1, 4 * SETS, 4)
    colours = F.pad(torch.cat([picture, torch.ones_like(picture[:, :1])], 1), (PATCH // 2,) * 4)
    cells = colours.unflatten(2, (rows + 1, PATCH)).unflatten(4, (columns + 1, PATCH))
    cells = cells.permute(0, 2, 4, 1, 3, 5).reshape(-1, 4, PATCH**2)
    mapped = (maps @ cells).unflatten(1, (4, SETS)) * corner_weights(picture.device)
    shape = (batch, rows + 1, columns + 1, SETS, PATCH, PATCH)
    tall = mapped.sum(1).view(shape).permute(0, 3, 1, 4, 2, 5)
    whole = tall.reshape(batch, SETS, PATCH * (rows + 1), PATCH * (columns + 1))
    return whole[:, :, PATCH // 2 : -PATCH // 2, PATCH // 2 : -PATCH // 2]


def corner_weights(device: torch.device) -> Tensor:
    """Bilinear weights (4, 1, 256) of a cell's corners: top left, top right, bottom left, right."""
    near = (torch.arange(PATCH, device=device) + 0.5) / PATCH
    corners = [(1 - near, 1 - near), (1 - near, near), (near, 1 - near), (near, near)]
    return torch.stack([down.outer(across).flatten() for down, across in corners])[:, None]

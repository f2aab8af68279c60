"""The heads on dense feature maps: size, shapes, independence of the batch, and padding around a backbone."""

import pytest
import torch
from torch import nn

from strategies._base import StrategyError
from strategies._dense_heads import PaddedModel, make_head, pyramid_sizes


@pytest.mark.parametrize(
    "channels", [(384,) * 4, (768,) * 4, (1024,) * 4, (256, 512, 1024, 2048), (16, 24, 40, 112, 1280), (256,)]
)
def test_upernet_stays_below_ten_million_parameters(channels):
    with torch.device("meta"):
        head = make_head("upernet", channels, 20, dropout=0.1)
    assert sum(parameter.numel() for parameter in head.parameters()) <= 10_000_000


@pytest.mark.parametrize(
    ("sizes", "size_px"),
    [
        ([(4, 5)] * 4, (64, 80)),  # a vision transformer
        ([(1, 1)] * 4, (14, 14)),
        ([(6, 6)] * 2, (24, 24)),
        ([(9, 7)], (9, 7)),  # features of single pixels
        ([(8, 8), (4, 4), (2, 2), (1, 1)], (32, 32)),  # a convolutional network
    ],
)
def test_upernet_takes_maps_of_any_number_and_size_and_trains_all_its_weights_at_batch_one(sizes, size_px):
    head = make_head("upernet", [8] * len(sizes), 3, dropout=0.0)
    logits = head([torch.randn(1, 8, *size) for size in sizes], size_px)
    assert logits.shape == (1, 3, *size_px)
    logits.square().sum().backward()
    # distributed training waits for the gradient of every parameter
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_upernet_gives_an_image_the_same_logits_in_any_batch_in_training_and_evaluation():
    head = make_head("upernet", [8] * 4, 3, dropout=0.0)
    maps = [torch.randn(3, 8, 4, 4) for _ in range(4)]
    with torch.no_grad():
        together = head.train()(maps, (64, 64))
        alone = head.eval()([m[1:2] for m in maps], (64, 64))
    torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("token_px", "expected"),
    [(16, [64, 32, 16, 8]), (14, [64, 32, 16, 8]), (8, [32, 16, 8, 4]), (4, [16, 8, 4, 2]), (1, [16, 8, 4, 2])],
)
def test_maps_of_one_size_become_a_pyramid_no_finer_than_a_quarter_of_the_input_or_the_maps(token_px, expected):
    sizes = pyramid_sizes([(16, 16)] * 4, (16 * token_px, 16 * token_px))
    assert sizes == [(side, side) for side in expected]


def test_an_unknown_head_is_refused():
    with pytest.raises(StrategyError, match="'mask2former' is not offered; allowed: linear, upernet, dpt"):
        make_head("mask2former", [8], 3, dropout=0.0)


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (5, 4)])
def test_dpt_takes_tokens_of_any_grid_and_trains_all_its_weights_at_batch_one(grid):
    size_px = (grid[0] * 14, grid[1] * 14)
    head = make_head("dpt", [16] * 4, 3, dropout=0.0)
    logits = head([torch.randn(1, 16, *grid) for _ in range(4)], size_px)
    assert logits.shape == (1, 3, *size_px)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in head.modules())


@pytest.mark.parametrize("channels", [(64,), (64, 128, 256, 512)])
def test_dpt_refuses_what_is_no_plain_vision_transformer(channels):
    with pytest.raises(StrategyError, match="head 'dpt' takes four maps of one width"):
        make_head("dpt", channels, 3, dropout=0.0)


class Tokens(nn.Module):
    """Tokens of 8 pixels: refuses inputs that they do not divide."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(4, 6, 8, stride=8)

    def forward(self, x):
        assert x.shape[-1] % 8 == 0
        assert x.shape[-2] % 8 == 0
        return [self.embed(x)] * 4


@pytest.mark.parametrize(
    ("size_px", "enlarge", "map_px"), [((17, 9), 1, (3, 2)), ((17, 9), 2, (5, 3)), ((3, 1), 1, (1, 1))]
)
def test_inputs_are_padded_to_whole_tokens_and_logits_cropped_again(size_px, enlarge, map_px):
    head = make_head("linear", [6] * 4, 3, dropout=0.0)
    model = PaddedModel(stem=nn.Identity(), backbone=Tokens(), head=head, multiple_px=8, enlarge=enlarge)
    x = torch.randn(2, 4, *size_px)
    assert model.features(x)[0].shape == (2, 6, *map_px)
    assert model(x).shape == (2, 3, *size_px)

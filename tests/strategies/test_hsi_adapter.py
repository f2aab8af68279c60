"""The adapter for hyperspectral data: starts as the pretrained transformer, which it never changes, and talks to it."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from strategies._base import StrategyError
from strategies.adaptation import trainable_parameters
from strategies.backbones.hsi_adapter import Adapter
from strategies.cross_modality.hsi_adapter import HsiAdapter

TINY = "test_vit.r160_in1k"
"""One of timm's own tiny models for tests."""


def build(bands=15, **values):
    fields = {"init": "random", "size": "reduced", **values}
    wavelengths = np.linspace(430, 900, bands).tolist()
    return HsiAdapter(**fields).build(num_bands=bands, wavelengths_nm=wavelengths, num_classes=4, image_size=32)


def open_gates(model):
    """As training would leave them: nothing is zero any more."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.stem.named_parameters():
            if "gate" in name or "into_patches" in name:
                parameter.normal_(std=0.1, generator=generator)
    return model


def test_it_says_that_it_is_a_re_implementation_that_nobody_has_validated():
    for text in (HsiAdapter.summary, HsiAdapter.__doc__):
        words = " ".join(text.split()).lower()
        assert "re-implem" in words
        assert "not validated against its numbers" in words
        assert "2509.20107" in words


def levels_of_the_transformer(model, x):
    """What it gives to the fusion, level by level."""
    given = []
    hook = model.backbone.model.norm.register_forward_hook(lambda *call: given.append(call[-1]))
    with torch.no_grad():
        model.maps(x)
    hook.remove()
    return given


def test_the_transformer_starts_as_pretrained_and_is_moved_once_the_gates_open():
    model, x = build().eval(), torch.randn(2, 15, 24, 40)
    with torch.no_grad():
        expected = model.backbone(model.stem.picture(x))
    prefix = model.backbone.model.num_prefix_tokens
    for closed, opened, plain in zip(
        levels_of_the_transformer(model, x), levels_of_the_transformer(open_gates(model), x), expected, strict=True
    ):
        torch.testing.assert_close(closed[:, prefix:], plain.flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(opened, closed, atol=1e-3)


def test_the_transformer_stays_bit_identical_while_adapter_and_head_train():
    strategy, model = HsiAdapter(init="random", size="reduced", learning_rate=0.05), open_gates(build())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW(strategy.parameter_groups(model))
    for _ in range(2):
        model.train()(torch.randn(1, 15, 24, 24)).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert not any(key.startswith("backbone.") for key in moved)
    # what shifts all keys alike cannot change an attention, and only rounding moves it
    missing = {key for key in trainable_parameters(model) if key not in moved and "key.bias" not in key}
    assert not missing


@pytest.mark.parametrize("bands", [15, 25, 128, 200])
def test_it_takes_any_number_of_bands_forwards_and_backwards(bands):
    model = build(bands).train()
    logits = model(torch.randn(1, bands, 19, 8))
    assert logits.shape == (1, 4, 19, 8)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in trainable_parameters(model).values())


def test_both_modalities_reach_the_logits_of_a_single_band():
    """A band that the picture hardly shows (near infrared) still matters: it comes in through the adapter."""
    model, x = build(25).eval(), torch.randn(1, 25, 24, 24)
    changed = x.clone()
    changed[:, -1] += 3
    with torch.no_grad():
        model.stem.picture.fit(np.random.default_rng(0).normal(size=(50, 25)).astype(np.float32))
        torch.testing.assert_close(model.stem.picture(changed), model.stem.picture(x), atol=1e-5, rtol=0)
        assert not torch.allclose(model(changed), model(x), atol=1e-3)


def test_bands_are_grouped_in_the_order_of_their_wavelengths():
    order = np.random.default_rng(0).permutation(16)
    wavelengths = np.linspace(430, 900, 16)[order].tolist()
    adapter = Adapter(16, wavelengths, 32, group_bands=8, spectral_width=16, spectral_depth=1)
    assert adapter.prior.spectral.band_order.tolist() == np.argsort(order).tolist()


def test_the_adapter_of_a_small_dinov2_has_less_than_ten_million_parameters():
    with torch.device("meta"):
        adapter = Adapter(128, None, 384, group_bands=8, spectral_width=64, spectral_depth=2)
    assert 4e6 < sum(parameter.numel() for parameter in adapter.parameters()) < 10e6


def test_published_weights_fill_the_whole_transformer(tmp_path):
    published = timm.create_model(TINY, pretrained=False)
    save_file(published.state_dict(), tmp_path / "model.safetensors")
    model = HsiAdapter(model=TINY).build(
        num_bands=15,
        wavelengths_nm=None,
        num_classes=4,
        image_size=32,
        weights_path=str(tmp_path / "model.safetensors"),
    )
    state = published.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.backbone.model.state_dict().items())


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"head": "dpt"}, "does not join"),
        ({"head": "linear"}, "does not join"),
        ({"model": "resnet50.a1_in1k", "size": "published"}, "is a ResNet"),
        ({"model": "vit_small_patch16_dinov3.lvd1689m", "size": "published"}, "is a Eva"),
    ],
)
def test_what_the_adapter_cannot_use_is_refused(values, text):
    with pytest.raises(StrategyError, match=text):
        build(**values)

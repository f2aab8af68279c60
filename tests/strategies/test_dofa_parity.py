"""DOFA gives the same numbers as torchgeo's implementation on the same weights; runs where torchgeo is installed."""

import pytest
import torch

from strategies.backbones.dofa import make_dofa

pytest.importorskip("torchgeo", reason="torchgeo is not installed; make test-geo runs this in an environment with it")

S2_NM = (490.0, 560.0, 665.0, 705.0, 740.0, 783.0, 842.0, 1610.0, 2190.0)
VNIR_NM = tuple(449.0 + 4 * band for band in range(128))


def torchgeos(state):
    """Torchgeo's reduced model with these weights: a function that gives each block's patches as a map."""
    from torchgeo.models import DOFA

    model = DOFA(embed_dim=32, depth=4, num_heads=4, num_classes=0).eval()
    left = model.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    assert set(left.missing_keys) == {"fc_norm.weight", "fc_norm.bias"}
    outputs = []
    for block in model.blocks:
        block.register_forward_hook(lambda _module, _given, tokens: outputs.append(tokens))

    def levels(x_BCHW, wavelengths_nm):
        outputs.clear()
        model(x_BCHW, [centre / 1000 for centre in wavelengths_nm])
        return [tokens[:, 1:].transpose(1, 2).reshape(len(x_BCHW), -1, 14, 14) for tokens in outputs]

    return levels


def difference(levels, others):
    """The largest one, relative to the largest feature of its level."""
    assert len(levels) == len(others) == 4
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(levels, others, strict=True))


@pytest.mark.parametrize("wavelengths_nm", [S2_NM, VNIR_NM, (470.0,)], ids=["Sentinel-2", "128 bands", "one band"])
def test_every_block_gives_what_torchgeos_gives_on_a_shared_random_state(wavelengths_nm):
    ours = make_dofa("reduced", wavelengths_nm).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            # larger than initial ones: attention and normalisation then matter, in the kernels' network too
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 1.0))
        theirs = torchgeos(ours.state_dict())
        x_BCHW = torch.randn(2, len(wavelengths_nm), 224, 224)
        levels = ours(x_BCHW)
        found = difference(levels, theirs(x_BCHW, wavelengths_nm))
        print(f"largest difference, relative to the largest feature: {found:.1e}")
        assert found < 1e-5
        # half a nanometre is seen: the agreement is no accident of features that nothing reaches
        assert difference(levels, theirs(x_BCHW, [centre + 0.5 for centre in wavelengths_nm])) > 1e-3

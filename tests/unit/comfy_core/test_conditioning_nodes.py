"""Conditionings are joined and told where they hold; schedules follow their formulas; noise follows its seed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from comfy_core.errors import InputRefused
from tests.unit.comfy_core.bound_nodes import call, counting, one


def conditioning(tokens: int = 3, value: float = 1.0, **options: Any) -> list[list[Any]]:
    """One entry of constant tokens."""
    return [[torch.full((1, tokens, 2), value), dict(options)]]


def test_values_are_added_and_nothing_given_is_changed() -> None:
    """Area in cells, mask as batch, range, guidance: in a copy of the dict, the tokens the same object."""
    given = conditioning(guidance=1.0)
    made = one("ConditioningSetArea", conditioning=given, width=100, height=72, x=15, y=8, strength=0.5)
    assert made[0][1] == {"guidance": 1.0, "area": (9, 12, 1, 1), "strength": 0.5, "set_area_to_bounds": False}
    assert made[0][0] is given[0][0]
    assert given[0][1] == {"guidance": 1.0}
    part = {"width": 0.5, "height": 0.25, "x": 0.1, "y": 0.2, "strength": 1.0}
    made = one("ConditioningSetAreaPercentage", conditioning=given, **part)
    assert made[0][1]["area"] == ("percentage", 0.25, 0.5, 0.2, 0.1)
    mask = {"mask": counting(2, 2), "strength": 0.3, "set_cond_area": "mask bounds"}
    made = one("ConditioningSetMask", conditioning=given, **mask)
    assert tuple(made[0][1]["mask"].shape) == (1, 2, 2)
    assert (made[0][1]["mask_strength"], made[0][1]["set_area_to_bounds"]) == (0.3, True)
    assert one("FluxGuidance", conditioning=given, guidance=2.5)[0][1] == {"guidance": 2.5}
    made = one("ConditioningSetTimestepRange", conditioning=given, start=0.1, end=0.9)
    assert (made[0][1]["start_percent"], made[0][1]["end_percent"]) == (0.1, 0.9)


def test_lists_of_further_pictures_grow() -> None:
    """Each reference latent and each clip vision output is appended to those before it."""
    latent = {"samples": counting(1, 1, 2, 2)}
    twice = one("ReferenceLatent", conditioning=one("ReferenceLatent", conditioning=conditioning(), latent=latent))
    assert len(twice[0][1]["reference_latents"]) == 1
    again = one("ReferenceLatent", conditioning=twice, latent=latent)
    assert len(again[0][1]["reference_latents"]) == 2
    assert len(twice[0][1]["reference_latents"]) == 1
    seen = {"clip_vision_output": object(), "noise_augmentation": 0.0}
    unclip = one("unCLIPConditioning", conditioning=conditioning(), strength=1.0, **seen)
    assert one("unCLIPConditioning", conditioning=unclip, strength=0.0, **seen) is unclip
    assert len(one("unCLIPConditioning", conditioning=unclip, strength=2.0, **seen)[0][1]["unclip_conditioning"]) == 2


def test_joining_and_mixing() -> None:
    """Combine keeps both, concat appends tokens, average mixes tokens and pooled output over zeros."""
    first = conditioning(2, 1.0, pooled_output=torch.ones(1, 2))
    second = conditioning(1, 3.0, pooled_output=torch.full((1, 2), 5.0))
    assert one("ConditioningCombine", conditioning_1=first, conditioning_2=second) == first + second
    joined = one("ConditioningConcat", conditioning_to=first, conditioning_from=second)
    assert joined[0][0][0, :, 0].tolist() == [1, 1, 3]
    inputs = {"conditioning_to": first, "conditioning_from": second, "conditioning_to_strength": 0.75}
    mixed = one("ConditioningAverage", **inputs)
    assert mixed[0][0][0, :, 0].tolist() == [1.5, 0.75]
    assert mixed[0][1]["pooled_output"].tolist() == [[2.0, 2.0]]
    zeros = one("ConditioningZeroOut", conditioning=first)
    assert not zeros[0][0].any()
    assert not zeros[0][1]["pooled_output"].any()
    with pytest.raises(InputRefused, match="empty"):
        call("ConditioningConcat", conditioning_to=first, conditioning_from=[])


def test_schedules_follow_their_formulas() -> None:
    """Karras et al. equation 5, even logarithms, the power of a ramp, the VP process, the tables themselves."""
    bounds = {"steps": 3, "sigma_max": 16.0, "sigma_min": 1.0}
    karras = one("KarrasScheduler", **bounds, rho=2.0).tolist()
    assert karras == pytest.approx([16.0, 6.25, 1.0, 0.0])
    assert one("ExponentialScheduler", **bounds).tolist() == pytest.approx([16.0, 4.0, 1.0, 0.0])
    poly = one("PolyexponentialScheduler", **bounds, rho=2.0).tolist()
    assert poly == pytest.approx([16.0, 2.0, 1.0, 0.0])
    laplace = one("LaplaceScheduler", steps=3, sigma_max=100.0, sigma_min=0.01, mu=0.0, beta=0.5).tolist()
    assert laplace == pytest.approx([100.0, 1.0, 0.01], rel=1e-4)
    process = one("VPScheduler", steps=2, beta_d=2.0, beta_min=1.0, eps_s=0.5).tolist()
    assert process == pytest.approx([math.sqrt(math.e**2 - 1), math.sqrt(math.exp(0.75) - 1), 0.0])
    table = one("AlignYourStepsScheduler", model_type="SVD", steps=10, denoise=1.0)
    assert table.tolist() == pytest.approx([700, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0])
    half = one("AlignYourStepsScheduler", model_type="SVD", steps=10, denoise=0.5)
    assert torch.equal(half, table[-6:])
    between = one("OptimalStepsScheduler", model_type="FLUX", steps=20, denoise=1.0)
    assert between[1].item() == pytest.approx(math.sqrt(0.9968 * 0.9886))
    shifted = one("LTXVScheduler", steps=2, max_shift=2.0, base_shift=1.0, stretch=False, terminal=0.1)
    assert shifted.tolist() == pytest.approx([1.0, math.e**2 / (math.e**2 + 1), 0.0])


def test_schedules_that_have_no_values_are_refused() -> None:
    """No root of degree 0, no logarithm of 0, no table of that name, no first value of nothing."""
    with pytest.raises(InputRefused, match="rho"):
        call("KarrasScheduler", steps=3, sigma_max=1.0, sigma_min=0.1, rho=0.0)
    with pytest.raises(InputRefused, match="too small"):
        call("KarrasScheduler", steps=3, sigma_max=5000.0, sigma_min=0.1, rho=0.01)
    with pytest.raises(InputRefused, match="above 0"):
        call("ExponentialScheduler", steps=3, sigma_max=1.0, sigma_min=0.0)
    with pytest.raises(InputRefused, match="no schedule"):
        call("OptimalStepsScheduler", model_type="other", steps=3, denoise=1.0)
    with pytest.raises(InputRefused, match="empty"):
        call("SetFirstSigma", sigmas=torch.zeros(0), sigma=1.0)


def test_schedules_are_cut_turned_and_filled_up() -> None:
    """The value at a cut belongs to both parts; a flipped schedule begins just above 0."""
    sigmas = torch.tensor([8.0, 4.0, 2.0, 0.0])
    high, low = call("SplitSigmas", sigmas=sigmas, step=1)
    assert (high.tolist(), low.tolist()) == ([8, 4], [4, 2, 0])
    high, low = call("SplitSigmasDenoise", sigmas=sigmas, denoise=0.34)
    assert (high.tolist(), low.tolist()) == ([8, 4, 2], [2, 0])
    assert one("FlipSigmas", sigmas=sigmas).tolist() == pytest.approx([0.0001, 2, 4, 8])
    assert one("SetFirstSigma", sigmas=sigmas, sigma=9.0).tolist() == [9, 4, 2, 0]
    assert sigmas.tolist() == [8, 4, 2, 0]
    extend = {"sigmas": sigmas, "steps": 2, "start_at_sigma": 5.0, "end_at_sigma": 3.0}
    assert one("ExtendIntermediateSigmas", **extend, spacing="linear").tolist() == [8, 4, 3, 2, 0]
    cosine = one("ExtendIntermediateSigmas", **extend, spacing="cosine")
    assert cosine[2].item() == pytest.approx(4 - 2 * math.sin(math.pi / 4))


def test_noise_is_what_the_seed_and_the_batch_index_say() -> None:
    """The same seed gives the same noise; an item drawn by its index is the same in any batch."""
    noise = one("RandomNoise", noise_seed=2**64 - 1)
    latent = {"samples": torch.zeros(2, 4, 3, 3)}
    assert torch.equal(noise.generate_noise(latent), noise.generate_noise(latent))
    several = noise.generate_noise({**latent, "samples": torch.zeros(3, 4, 3, 3), "batch_index": [2, 0, 2]})
    single = noise.generate_noise({"samples": torch.zeros(1, 4, 3, 3), "batch_index": [2]})
    assert torch.equal(several[0:1], single)
    assert torch.equal(several[0], several[2])
    assert not torch.equal(several[0], several[1])
    none = one("DisableNoise")
    assert none.seed == 0
    assert not none.generate_noise(latent).any()


def test_guides_are_cut_off_the_end_of_a_video() -> None:
    """Two different times among the positions are two frames less; without guides all frames stay, all to be made."""
    places = torch.tensor([[[0.0, 0.0, 8.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]])
    inputs = {"negative": conditioning(), "latent": {"samples": counting(1, 1, 5, 1, 1)}}
    positive, negative, latent = call("LTXVCropGuides", positive=conditioning(keyframe_idxs=places), **inputs)
    assert latent["samples"].flatten().tolist() == [0, 1, 2]
    assert tuple(latent["noise_mask"].shape) == (1, 1, 3, 1, 1)
    assert positive[0][1] == negative[0][1] == {"keyframe_idxs": None}
    assert call("LTXVCropGuides", positive=conditioning(), **inputs)[2]["samples"].shape[2] == 5


def test_views_of_a_shape_are_told_apart() -> None:
    """The front adds cos 0, each other side its own waves; no view at all is refused."""

    class Seen:
        last_hidden_state = torch.zeros(1, 1, 2)

    positive, negative = call("Hunyuan3Dv2ConditioningMultiView", front=Seen(), back=Seen())
    assert positive[0][0][0].tolist() == [[0, 1], [pytest.approx(math.sin(2)), pytest.approx(math.cos(2))]]
    assert not negative[0][0].any()
    with pytest.raises(InputRefused, match="at least one"):
        call("Hunyuan3Dv2ConditioningMultiView")

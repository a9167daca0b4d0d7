"""What packs compute with: tiles, batches, weights files, schedules, layers, progress and interrupts."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from comfy_core.offered import devices, tensors, tiling, weights
from comfy_core.offered.bar import HOOKED, ProgressBar
from comfy_core.offered.layers import Conv2d, Linear, casting
from comfy_core.offered.schedules import SCHEDULES
from comfy_core.progress import Scope, scope
from tests.unit.comfy_core.pack_side import PackSide, Raised

PARITY = Path(__file__).resolve().parents[4] / "shared" / "parity" / "stages" / "sigmas.json"


def test_tiles_share_what_they_overlap_by_ramps() -> None:
    """A tile of 8 with an overlap of 2: four thirds, then five thirds, between one tile's value and the next's."""
    calls: list[int] = []

    def paint(part: torch.Tensor) -> torch.Tensor:
        calls.append(part.shape[-1])
        return torch.full_like(part, float(len(calls)))

    out = tiling.tiled_scale(torch.zeros(1, 3, 4, 20), paint, 8, 8, 2, 1, 3)
    assert calls == [8, 8, 8]
    wanted = [1, 1, 1, 1, 1, 1, 4 / 3, 5 / 3, 2, 2, 2, 2, 7 / 3, 8 / 3, 3, 3, 3, 3, 3, 3]
    assert out[0, 0, 0].tolist() == pytest.approx(wanted)


def test_a_function_that_tiles_cannot_tell_is_the_same_tiled() -> None:
    """Enlarging by repetition gives the same picture, with a tick for each tile; functions give lengths too."""
    picture, ticks = torch.rand(2, 3, 21, 17), []
    bar = SimpleNamespace(update=ticks.append)
    tiled = tiling.tiled_scale(picture, _twice, 8, 8, 4, 2, 3, pbar=bar)
    assert torch.allclose(tiled, _twice(picture), atol=1e-6)
    assert sum(ticks) == 2 * tiling.count(17, 21, 8, 8, 4)
    by_function = tiling.tiled_scale_multidim(picture, _twice, (8, 8), 4, (lambda length: length * 2, 2), 3)
    assert torch.equal(by_function, tiled)
    halves = tiling.tiled_scale_multidim(
        picture[..., :16, :16], _half, tile=(8, 8), overlap=4, upscale_amount=2, out_channels=3, downscale=True
    )
    assert torch.allclose(halves, _half(picture[..., :16, :16]), atol=1e-6)


def _twice(part: torch.Tensor) -> torch.Tensor:
    return part.repeat_interleave(2, -1).repeat_interleave(2, -2)


def _half(part: torch.Tensor) -> torch.Tensor:
    return part[..., ::2, ::2]


@pytest.mark.parametrize(
    ("length", "wanted", "picked"),
    [
        (3, 5, [0, 0, 1, 2, 2]),
        (2, 5, [0, 0, 1, 1, 1]),
        (7, 4, [0, 2, 4, 6]),
        (5, 2, [0, 4]),
        (5, 1, [0]),
        (3, 3, [0, 1, 2]),
    ],
)
def test_batches_are_spread_evenly(length: int, wanted: int, picked: list[int]) -> None:
    """Both ends are kept when there are fewer; each is repeated about as often when there are more."""
    assert tensors.resize_to_batch_size(torch.arange(length), wanted).tolist() == picked
    assert tensors.resize_list_to_batch_size(list(range(length)), wanted) == picked


def test_batches_are_repeated_from_the_start() -> None:
    """repeat_to_batch_size goes round; a longer one is cut."""
    assert tensors.repeat_to_batch_size(torch.arange(3), 5).tolist() == [0, 1, 2, 0, 1]
    assert tensors.repeat_to_batch_size(torch.arange(3), 2).tolist() == [0, 1]


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "area", "bicubic", "bislerp", "lanczos"])
def test_scaling_keeps_batch_channels_and_frames(method: str) -> None:
    """[B, C, T, H, W] too; the centre is cut to the new proportions when asked."""
    assert tensors.common_upscale(torch.rand(2, 3, 4, 6, 10), 5, 7, method, "center").shape == (2, 3, 4, 7, 5)
    marked = torch.zeros(1, 3, 4, 8)
    marked[..., 2:6] = 1.0
    assert tensors.common_upscale(marked, 2, 2, method, "center").min() > 0.99


def test_masks_take_the_shape_of_what_they_mask() -> None:
    """Repeated over channels and batch; for video what comes before height and width is time."""
    mask = torch.stack([torch.zeros(4, 4), torch.ones(4, 4)])
    assert tensors.reshape_mask(mask[1], (2, 3, 2, 2)).tolist() == torch.ones(2, 3, 2, 2).tolist()
    frames = tensors.reshape_mask(mask, (1, 3, 4, 2, 2))
    assert frames[0, 0, :, 0, 0].tolist() == pytest.approx([0, 0.25, 0.75, 1])


def test_weights_are_read_the_safe_way(tmp_path: Path) -> None:
    """safetensors with metadata, and pickles of tensors, nested as training programs nest them; no other pickle."""
    weights.save({"w": torch.ones(2)}, str(tmp_path / "a.safetensors"), metadata={"k": "v"})
    state, metadata = weights.load(str(tmp_path / "a.safetensors"), return_metadata=True)
    assert (state["w"].tolist(), metadata) == ([1.0, 1.0], {"k": "v"})
    assert json.loads(weights.header(str(tmp_path / "a.safetensors")) or b"")["__metadata__"] == {"k": "v"}
    assert weights.header(str(tmp_path / "a.safetensors"), max_size=5) is None
    for name, held in (
        ("b.pt", {"state_dict": {"w": torch.ones(2)}, "step": 1}),
        ("c.pt", {"m": {"w": torch.ones(2)}}),
    ):
        torch.save(held, tmp_path / name)
        assert list(weights.load(str(tmp_path / name))) == ["w"]
    torch.save({"w": Path("x")}, tmp_path / "d.pt")
    with pytest.raises(Exception, match="weights_only"):
        weights.load(str(tmp_path / "d.pt"))


def test_names_of_tensors_are_replaced_in_place() -> None:
    """filter_keys gives the ones that were replaced alone."""
    state = {"a.x": 1, "a.y": 2, "b.z": 3}
    assert weights.replace_prefixes(state, {"a.": "q."}) is state
    assert state == {"b.z": 3, "q.x": 1, "q.y": 2}
    assert weights.replace_prefixes(state, {"q.": ""}, filter_keys=True) == {"x": 1, "y": 2}
    assert weights.replace_names({"x": 1, "y": 2}, {"x": "n", "gone": "m"}) == {"n": 1, "y": 2}


def test_the_type_of_weights_is_that_of_most_numbers() -> None:
    """Not of most tensors."""
    state = {"a": torch.zeros(1), "b": torch.zeros(1), "c": torch.zeros(9, dtype=torch.float16)}
    assert weights.main_dtype(state) == torch.float16
    assert weights.main_dtype({}) is None
    assert weights.count(state) == 11


def test_layers_cast_their_weights_to_what_goes_in() -> None:
    """Half precision weights, full precision numbers; without the cast torch refuses."""
    for plain, given in ((Linear(4, 2), torch.rand(3, 4)), (Conv2d(2, 2, 1), torch.rand(1, 2, 3, 3))):
        layer = casting(type(plain))(4, 2) if isinstance(plain, Linear) else casting(Conv2d)(2, 2, 1)
        for parameter in layer.parameters():
            torch.nn.init.constant_(parameter, 0.5)
        plain.load_state_dict(layer.state_dict())
        wanted = plain(given)
        assert torch.allclose(layer.to(torch.float16)(given), wanted)
        with pytest.raises(RuntimeError):
            plain.to(torch.float16)(given)


@pytest.mark.parametrize("model", ["sd15_eps", "flow_shift3", "flux_shift1.15"])
def test_schedules_are_the_recorded_ones(side: PackSide, model: str) -> None:
    """Every schedule at every number of steps that was recorded, and the ends of the table."""
    if not PARITY.is_file():
        pytest.skip("the recorded noise levels are not here")
    compared, worst = side.run(f"model, path = {model!r}, {str(PARITY)!r}\n{_COMPARE}")
    assert compared > 40
    assert worst < 1e-5


_COMPARE = """
import json, math
import comfy.model_sampling as ms
from comfy.samplers import calculate_sigmas

sampling = {"sd15_eps": ms.ModelSamplingDiscrete, "flux_shift1.15": ms.ModelSamplingFlux}.get(model)
if sampling is None:
    sampling = ms.ModelSamplingDiscreteFlow()
    sampling.set_parameters(shift=3.0)
else:
    sampling = sampling()
golden = json.load(open(path))[model]
pairs = [(float(sampling.sigma_min), golden["sigma_min"]), (float(sampling.sigma_max), golden["sigma_max"])]
for key, wanted in golden.items():
    name, _, steps = key.partition("/")
    if steps.isdecimal() and not any(map(math.isnan, wanted)):
        pairs += zip(calculate_sigmas(sampling, name, int(steps)).tolist(), wanted, strict=True)
answer = [len(pairs), max(abs(a - b) / max(1.0, abs(b)) for a, b in pairs)]
"""


def test_every_schedule_falls_to_nothing() -> None:
    """For a table of its own making."""
    levels = torch.linspace(0.03, 14.6, 1000)
    table = SimpleNamespace(
        sigmas=levels,
        sigma_min=levels[0],
        sigma_max=levels[-1],
        timestep=lambda sigma: (levels - sigma).abs().argmin().float(),
        sigma=lambda time: levels[int(time)],
    )
    for name, known in SCHEDULES.items():
        levels_of = {"n": 8, "sigma_min": 0.03, "sigma_max": 14.6}
        found = known.handler(table, 8) if known.use_ms else known.handler(**levels_of)
        assert found[-1] == 0, name
        assert (found.diff() < 0).all(), name


def test_half_precision_is_not_chosen_on_a_processor() -> None:
    """float32 there, whatever the file holds."""
    cpu = torch.device("cpu")
    assert devices.stored_as(cpu, devices.FULL, torch.float16) == torch.float32
    assert devices.best(cpu, (torch.float16, torch.bfloat16)) == torch.float32
    assert devices.holds(cpu, torch.float8_e4m3fn)


def test_bars_go_through_the_executors_progress() -> None:
    """Value, total, preview and node; a hook of a pack's takes its place from the next bar on."""
    told: list[tuple[object, ...]] = []
    token = scope.set(Scope("p", "7", lambda *facts: told.append(facts), lambda: False))
    try:
        bar = ProgressBar(4)
        bar.update(1)
        bar.update_absolute(9, preview="picture")
        ProgressBar(2, node_id="8").update(1)
        HOOKED.hook = lambda *facts, node_id: told.append(("hook", *facts))
        ProgressBar(3).update(1)
        bar.update_absolute(0)
    finally:
        HOOKED.__init__()  # type: ignore[misc]
        scope.reset(token)
    assert told[:3] == [("7", 1, 4, None), ("7", 4, 4, "picture"), ("8", 1, 2, None)]
    assert told[3:] == [("hook", 1, 3, None), ("7", 0, 4, None)]


def test_an_interrupt_reaches_code_that_reports_or_asks(side: PackSide) -> None:
    """The exception packs catch is the executor's own."""
    side.run(
        """
        import comfy.utils, comfy.model_management as mm
        from comfy_core.progress import Scope, scope
        token = scope.set(Scope("p", "7", lambda *facts: None, lambda: True))
        caught = []
        for call in (lambda: comfy.utils.ProgressBar(2).update(1), mm.throw_exception_if_processing_interrupted):
            try:
                call()
            except mm.InterruptProcessingException as error:
                caught.append(type(error).__name__)
        scope.reset(token)
        answer = caught
        assert answer == ["Interrupted", "Interrupted"]
        """
    )


def test_the_device_is_the_executors(side: PackSide) -> None:
    """On a processor: everything there, in float32."""
    found = side.run(
        """
        import comfy.model_management as mm, torch
        answer = [str(mm.get_torch_device()), mm.vram_state.name, str(mm.unet_dtype()), str(mm.vae_dtype()),
                  mm.get_free_memory() <= mm.get_total_memory(), mm.module_size(torch.nn.Linear(3, 2))]
        """
    )
    assert found == ["cpu", "DISABLED", "torch.float32", "torch.float32", True, 32]


def test_a_packs_own_model_is_counted_and_moved(side: PackSide) -> None:
    """load_models_gpu takes modules and what holds one; the executor's Memory knows them while they live."""
    found = side.run(
        """
        import types, torch, comfy.model_management as mm
        held = types.SimpleNamespace(model=torch.nn.Linear(3, 2))
        mm.load_models_gpu([held, torch.nn.Linear(2, 2), object()])
        there = [held.model in mm.loaded_models(), any(one.size == 32 for one in surface.services.memory.held())]
        mm.unload_all_models()
        answer = there
        """
    )
    assert found == [True, True]


def test_conditionings_are_copied_before_they_change(side: PackSide) -> None:
    """conditioning_set_values leaves what it is given as it was; append adds to what is there."""
    found = side.run(
        """
        from node_helpers import conditioning_set_values
        given = [[1, {"a": [1]}]]
        answer = [conditioning_set_values(given, {"a": [2], "b": 3}),
                  conditioning_set_values(given, {"a": [2]}, append=True), given]
        """
    )
    assert found == [[[1, {"a": [2], "b": 3}]], [[1, {"a": [1, 2]}]], [[1, {"a": [1]}]]]


def test_wrappers_go_around_from_the_first_to_the_last(side: PackSide) -> None:
    """Each is handed the executor, which goes one further in."""
    found = side.run(
        """
        import comfy.patcher_extension as pe
        options = {}
        pe.add_wrapper_with_key(pe.WrappersMP.APPLY_MODEL, "k", lambda inner, x: ["outer", inner(x)], options)
        pe.add_wrapper(pe.WrappersMP.APPLY_MODEL, lambda inner, x: ["inner", inner(x)], options)
        wrappers = pe.get_all_wrappers(pe.WrappersMP.APPLY_MODEL, options)
        answer = pe.WrapperExecutor.new_executor(lambda x: x, wrappers).execute(5)
        """
    )
    assert found == ["outer", ["inner", 5]]


def test_attention_is_that_of_the_formula(side: PackSide) -> None:
    """softmax(q k / sqrt d) v, for heads side by side; an override in the options is asked instead."""
    found = side.run(
        """
        import math, torch
        from comfy.ldm.modules.attention import optimized_attention, wrap_attn
        q, k = torch.rand(1, 3, 4), torch.rand(1, 5, 4)
        heads = [(q[..., i:i + 2] @ k[..., i:i + 2].transpose(1, 2) / math.sqrt(2)).softmax(-1) @ k[..., i:i + 2]
                 for i in (0, 2)]
        options = {"optimized_attention_override": lambda function, *a, **kw: "mine"}
        answer = [torch.allclose(optimized_attention(q, k, k, 2), torch.cat(heads, -1), atol=1e-6),
                  wrap_attn(optimized_attention)(q, k, k, 2, transformer_options=options)]
        """
    )
    assert found == [True, "mine"]


def test_noise_is_the_seeds(side: PackSide) -> None:
    """Indices pick from one series, so that a sample of a batch can be made again alone."""
    found = side.run(
        """
        import torch
        from comfy.sample import prepare_noise
        whole = prepare_noise(torch.zeros(3, 1, 2, 2), 7, [0, 1, 2])
        again = prepare_noise(torch.zeros(1, 1, 2, 2), 7, [2])
        answer = [torch.equal(again, whole[2:]), torch.equal(prepare_noise(whole, 7), prepare_noise(whole, 7))]
        """
    )
    assert found == [True, True]


def test_only_what_a_model_gives_to_a_preview_is_shown(side: PackSide) -> None:
    """A previewer by a matrix makes a picture of the first sample; none is made where none is wished for."""
    found = side.run(
        """
        import torch, latent_preview, comfy.latent_formats
        previewer = latent_preview.Latent2RGBPreviewer([[1.0, 0, 0], [0, 1.0, 0]])
        kind, picture, size = previewer.decode_latent_to_preview_image("JPEG", torch.ones(2, 2, 3, 4))
        answer = [kind, picture.size, picture.getpixel((0, 0)), size,
                  latent_preview.get_previewer(None, comfy.latent_formats.SD15()) is None]
        """
    )
    assert found == ["JPEG", [4, 3], [255, 255, 127], 512, True]


def test_a_broken_model_call_is_one_clear_error(side: PackSide) -> None:
    """A pack's node that samples ends in the sentence, not in an AttributeError of ours."""
    with pytest.raises(Raised, match=r"comfy.samplers.KSAMPLER.sample|KSAMPLER.sample needs the diffusion models"):
        side.run("import comfy.samplers; comfy.samplers.sampler_object('euler').sample()")

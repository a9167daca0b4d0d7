"""A version's inputs as JSON Schema: it admits exactly what a run of the version may be given."""

from __future__ import annotations

from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from orchestrator.runs.inputs import check
from orchestrator.runs.schema import deployment_document, inputs_schema, outputs_schema
from orchestrator.wire import InputSpec, OutputSpec

KINDS = ("text", "image", "images", "number", "integer", "boolean", "enum", "seed", "file")


def _spec(kind: Any, **more: Any) -> InputSpec:
    return InputSpec("x", "1", "ComfyUIDeployExternal", kind, **more)


SPECS = [
    *(_spec(kind) for kind in KINDS),
    _spec("number", minimum=-1.5, maximum=2.0),
    _spec("seed", minimum=1.0, maximum=4294967295.0),
    _spec("enum", options=["a", "b"]),
]
PIECES = (
    "a", "b", "", "https://example.org/a.png", "HTTP://x", "ftp://x", "data:image/png;base64,AAAA",
    "data:image/tiff;base64,AA", "DATA:IMAGE/JPG;BASE64,x", "nonsense https://x",
)  # fmt: skip
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 2**33),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.sampled_from(PIECES),
    st.text(max_size=5),
    st.just({"file_id": "f"}),
    st.just({"file_id": 3}),
    st.just({"file_id": "f", "more": 1}),
)
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=3))


@given(st.sampled_from(SPECS), VALUES)
def test_the_schema_admits_what_a_run_admits(spec: InputSpec, value: Any) -> None:
    """For every kind, with limits and options, whatever is given."""
    schema = inputs_schema([spec])
    Draft202012Validator.check_schema(schema)
    admitted = Draft202012Validator(schema).is_valid({"x": value})
    assert admitted == (check({"x": value}, [spec]) == [])


def test_an_input_that_is_not_there_is_admitted_by_neither() -> None:
    """A misspelt name is refused by the schema as by the server; nothing is required."""
    schema = Draft202012Validator(inputs_schema([_spec("text")]))
    assert schema.is_valid({})
    assert not schema.is_valid({"y": "text"})


@pytest.mark.parametrize("about", ["", "in words"])
def test_a_deployments_document_is_openapi(about: str) -> None:
    """With every kind of input, and with none; names and descriptions of people's own making."""
    inputs = [
        msgspec.structs.replace(spec, input_id=f"x{place}", default=default, display_name="Title", description="About")
        for place, (spec, default) in enumerate(product(SPECS, ("d", 3, {"file_id": "f"}, [])))
    ]
    outputs = [OutputSpec("result", "9", "ComfyDeployOutputImage", "images")]
    for given_inputs, given_outputs in ((inputs, outputs), ([], [])):
        document = deployment_document(
            name='w "x" </script>', about=about, server="https://example.org", path="/api/v1/deployments/1/runs",
            inputs=given_inputs, outputs=given_outputs,
        )  # fmt: skip
        OpenAPIV31SpecValidator(document).validate()
        Draft202012Validator.check_schema(outputs_schema(given_outputs))

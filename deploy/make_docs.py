"""Regenerates the documents that are drawn from the program itself. `python deploy/make_docs.py` writes them all.

Each entry of DOCUMENTS is a path in the repository and an async generator of its text. A generator gets the DSN of a
database with the present schema. It must give the same text every time: a test compares it with the file.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from drivers.wire import Failure  # noqa: E402 - the checkout comes first
from orchestrator.api import inventory  # noqa: E402
from orchestrator.api.schema import document  # noqa: E402
from orchestrator.app import create_app  # noqa: E402
from orchestrator.config import Config  # noqa: E402
from orchestrator.runs.retry import ALLOWED, FIRST_DELAY_S, FORGIVEN, LONGEST_DELAY_S, Retry, after  # noqa: E402
from orchestrator.runs.state import diagram  # noqa: E402
from orchestrator.store.embedded import EmbeddedPostgres  # noqa: E402

Generator = Callable[[str], Awaitable[str]]

COLUMNS = """
select pg_class.relname as table_name, attname as name,
       replace(format_type(atttypid, null), 'timestamp with time zone', 'timestamptz') as type,
       exists (select from pg_constraint where conrelid = attrelid and contype = 'p' and attnum = any (conkey)) as pk,
       exists (select from pg_constraint where conrelid = attrelid and contype = 'f' and attnum = any (conkey)) as fk,
       exists (select from pg_constraint where conrelid = attrelid and contype = 'u' and conkey = array[attnum]) as uk,
       coalesce(col_description(attrelid, attnum), '') as about
from pg_attribute join pg_class on pg_class.oid = attrelid
where relnamespace = 'public'::regnamespace and relkind = 'r' and attnum > 0 and not attisdropped
order by pg_class.relname, attnum
"""
RELATIONS = """
select conrelid::regclass::text as child, confrelid::regclass::text as parent, attname as name,
       attnotnull as required,
       exists (select from pg_index where indrelid = conrelid and indisunique and indpred is null
               and indnkeyatts = 1 and indkey[0] = attnum) as one_to_one
from pg_constraint join pg_attribute on attrelid = conrelid and attnum = conkey[1]
where contype = 'f' and connamespace = 'public'::regnamespace
order by 1, 2, 3
"""
TABLES = """
select relname as name, coalesce(obj_description(oid, 'pg_class'), '') as about
from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' order by relname
"""

ER_HEAD = """# The database

Drawn from the live schema by `make docs`; do not edit. The truth is [schema.sql](../schema.sql), and what each table
is for stands in its comment. Lines are foreign keys: `||` one, `|o` one or none, `o{` any number.
"""


async def er_diagram(dsn: str) -> str:
    """The schema's tables, columns and foreign keys as a Mermaid diagram, and what each table is for."""
    connection = await asyncpg.connect(dsn)
    try:
        columns = await connection.fetch(COLUMNS)
        relations = await connection.fetch(RELATIONS)
        tables = await connection.fetch(TABLES)
    finally:
        await connection.close()
    lines = [ER_HEAD, "```mermaid", "erDiagram"]
    lines += [_relation(relation) for relation in relations]
    for table in tables:
        lines.append(f"  {table['name']} {{")
        lines += [_column(column) for column in columns if column["table_name"] == table["name"]]
        lines.append("  }")
    lines += ["```", ""]
    for table in tables:
        lines += _explained(table, [column for column in columns if column["table_name"] == table["name"]])
    return "\n".join(lines)


def _explained(table: asyncpg.Record, columns: list[asyncpg.Record]) -> list[str]:
    head = [f"## {table['name']}", "", _cell(table["about"]), "", "| column | type | meaning |", "| --- | --- | --- |"]
    return [*head, *(f"| `{row['name']}` | {row['type']} | {_cell(row['about'])} |" for row in columns), ""]


def _relation(row: asyncpg.Record) -> str:
    parent = "||" if row["required"] else "|o"
    child = "o|" if row["one_to_one"] else "o{"
    return f"  {row['parent']} {parent}--{child} {row['child']} : {row['name']}"


def _column(row: asyncpg.Record) -> str:
    keys = ", ".join(name for name, is_key in (("PK", row["pk"]), ("FK", row["fk"]), ("UK", row["uk"])) if is_key)
    return f"    {row['type'].replace('[]', '_array')} {row['name']} {keys}".rstrip()


def _cell(text: str) -> str:
    """Text as it may stand in a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


async def openapi(_dsn: str) -> str:
    """The OpenAPI document, as `python -m orchestrator openapi` prints it and /openapi.json serves it."""
    return document(create_app(Config())).decode()


async def routes(_dsn: str) -> str:
    """What each route asks of a credential."""
    return inventory.table(create_app(Config()))


def _routes_on(path: str, page: str) -> Generator:
    """A page with its table of routes drawn anew; what people wrote stays."""

    async def text(_dsn: str) -> str:
        return _with_generated((ROOT / path).read_text(), "routes", inventory.part(create_app(Config()), page))

    return text


async def run_lifecycle(_dsn: str) -> str:
    """docs/run-lifecycle.md with its diagram and its table of retries drawn anew; what people wrote stays."""
    text = (ROOT / "docs/run-lifecycle.md").read_text()
    text = _with_generated(text, "diagram", f"```mermaid\n{diagram()}```\n")
    return _with_generated(text, "retry", _retries())


def _with_generated(text: str, name: str, part: str) -> str:
    """The text with the part between its two marks replaced. Raises ValueError when the marks are not there once."""
    pattern = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    changed, count = pattern.subn(lambda marks: f"{marks[1]}{part}{marks[2]}", text)
    if count != 1:
        raise ValueError(f"there are {count} parts named {name}")
    return changed


def _retries() -> str:
    lines = [
        "| class of failure | ends the run at its fault number | seconds before the next attempt |",
        "| --- | --- | --- |",
    ]
    for kind, allowed in ALLOWED.items():
        limit = FORGIVEN if allowed is None else allowed
        counted = f"not counted; {limit} attempts of any kind" if allowed is None else str(limit)
        faults = [0 if allowed is None else made for made in (1, 2, 3, 4)]
        decisions = [after(Failure(kind, ""), made, faults[made - 1], limit) for made in (1, 2, 3, 4)]
        delays = [f"{decision.delay_s:g}" for decision in decisions if isinstance(decision, Retry)]
        more = ", ..." if limit > len(decisions) + 1 else ""
        lines.append(f"| `{kind}` | {counted} | {', '.join(delays) or 'never tried again'}{more} |")
    return "\n".join([*lines, "", f"Delays double from {FIRST_DELAY_S:g} s, up to {LONGEST_DELAY_S:g} s.", ""])


DOCUMENTS: list[tuple[str, Generator]] = [
    ("docs/er.md", er_diagram),
    ("docs/run-lifecycle.md", run_lifecycle),
    ("docs/API/openapi.json", openapi),
    ("docs/API/routes.md", routes),
    ("docs/API/comfy-v2.md", _routes_on("docs/API/comfy-v2.md", "comfy-v2")),
    ("docs/API/comfydeploy.md", _routes_on("docs/API/comfydeploy.md", "comfydeploy")),
    ("docs/API/comfyui.md", _routes_on("docs/API/comfyui.md", "comfyui")),
    ("docs/dashboard.md", _routes_on("docs/dashboard.md", "../dashboard")),
]


async def generate_all(dsn: str) -> dict[str, str]:
    """Every document's text by its path."""
    return {path: await generator(dsn) for path, generator in DOCUMENTS}


async def _main(home: Path) -> None:
    server = EmbeddedPostgres(home, durable=False)
    dsn = await server.start()
    try:
        await _write_all(dsn)
    finally:
        await server.stop()


async def _write_all(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute((ROOT / "schema.sql").read_text())
    await connection.close()
    for path, text in (await generate_all(dsn)).items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text)
        print(path)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="comfyfleet-docs-") as folder:
        Path(folder).chmod(0o711)  # the database's own account passes through it
        asyncio.run(_main(Path(folder)))

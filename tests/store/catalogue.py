"""A database's objects as plain text lines, to compare two databases whatever order their objects were made in."""

from __future__ import annotations

import asyncpg

QUERIES = {
    "table": """
        select relname, relkind, relpersistence, array_to_string(reloptions, ','), obj_description(oid, 'pg_class')
        from pg_class where relnamespace = 'public'::regnamespace order by relname""",
    "column": """
        select attrelid::regclass::text, attnum, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
               attgenerated, attstorage, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum)
        from pg_attribute
        join pg_class on pg_class.oid = attrelid
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
        where relnamespace = 'public'::regnamespace and attnum > 0 and not attisdropped
        order by attrelid::regclass::text, attnum""",
    "type": """
        select typname, typtype,
               array(select enumlabel from pg_enum where enumtypid = pg_type.oid order by enumsortorder)
        from pg_type where typnamespace = 'public'::regnamespace and typtype in ('e', 'd', 'r') order by typname""",
    "constraint": """
        select conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid), convalidated
        from pg_constraint where connamespace = 'public'::regnamespace order by 1, 2""",
    "index": "select indexname, indexdef from pg_indexes where schemaname = 'public' order by indexname",
    "trigger": """
        select tgname, tgenabled, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal order by tgname""",
    "function": """
        select proname, pg_get_functiondef(oid), obj_description(oid, 'pg_proc')
        from pg_proc where pronamespace = 'public'::regnamespace order by proname""",
    "sequence": "select sequencename, start_value, increment_by, cycle from pg_sequences order by sequencename",
}


async def catalogue(dsn: str) -> list[str]:
    """One line an object."""
    connection = await asyncpg.connect(dsn)
    try:
        return [f"{kind} {tuple(row)}" for kind, query in QUERIES.items() for row in await connection.fetch(query)]
    finally:
        await connection.close()

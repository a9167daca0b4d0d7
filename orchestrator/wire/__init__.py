"""The public wire: bodies of the native API under /api/v1, for the server, the SDK and the command line.

Plain data, msgspec only. Ids are strings (UUIDv7), times RFC 3339 in UTC, durations end in _s or _ms, sizes in bytes.
Requests refuse unknown fields; lists answer `{items, next_cursor}`. A module for each resource; every name is here too.
"""

from orchestrator.wire.access import *
from orchestrator.wire.base import *
from orchestrator.wire.deployments import *
from orchestrator.wire.files import *
from orchestrator.wire.machines import *
from orchestrator.wire.members import *
from orchestrator.wire.runs import *
from orchestrator.wire.shares import *
from orchestrator.wire.usage import *
from orchestrator.wire.webhooks import *
from orchestrator.wire.workflows import *

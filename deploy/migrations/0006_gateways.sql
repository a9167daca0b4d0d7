-- Gateways: graphs that are sent whole, the runs they become, assets, and what a ComfyUI client expects of its server.

alter table workflows add column hidden boolean not null default false;
comment on column workflows.hidden is 'Holds the graphs that clients send whole; left out of lists, one for each team.';
create unique index workflows_hidden on workflows (organisation_id) where hidden;

create table graph_shapes (
  organisation_id uuid not null references organisations on delete cascade,
  hash bytea not null,
  version_id uuid not null references workflow_versions on delete cascade,
  created_at timestamptz not null default now(),
  primary key (organisation_id, hash)
);
comment on table graph_shapes is 'Which version stands for graphs of one shape: the same nodes, links and models, whatever their other values.';
comment on column graph_shapes.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column graph_shapes.hash is 'sha256 of the shape (orchestrator/runs/shapes.py).';
comment on column graph_shapes.version_id is 'The version (workflow_versions.id), of the team''s hidden workflow.';
comment on column graph_shapes.created_at is 'When the first such graph was sent.';

create table sent_graphs (
  run_id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  number bigint generated always as identity,
  dialect text not null,
  sender text not null,
  client_id text not null default '',
  labels jsonb not null default '{}',
  extra jsonb not null default '{}',
  created_at timestamptz not null default now(),
  forgotten_at timestamptz
);
create index sent_graphs_labels on sent_graphs using gin (labels jsonb_path_ops);
create index sent_graphs_sender on sent_graphs (organisation_id, sender, run_id desc) where dialect = 'comfyui';
comment on table sent_graphs is 'What a client said of a graph that it sent whole, besides the graph. Written before the run, so that none lacks it.';
comment on column sent_graphs.run_id is 'The run (runs.id, not enforced: a run that was refused leaves its row).';
comment on column sent_graphs.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column sent_graphs.number is 'Counts up: the number of a prompt in a ComfyUI queue.';
comment on column sent_graphs.dialect is 'Through which door it came: comfy_v2 or comfyui.';
comment on column sent_graphs.sender is 'Who sent it, as in audit_log; a ComfyUI client sees only its sender''s.';
comment on column sent_graphs.client_id is 'The ComfyUI client that is told of it; empty: none.';
comment on column sent_graphs.labels is 'Names and values that the sender finds it by.';
comment on column sent_graphs.extra is 'What goes along and comes back with it, without secrets: the editor''s graph.';
comment on column sent_graphs.created_at is 'When it was sent.';
comment on column sent_graphs.forgotten_at is 'Set: its sender took it out of its history; the run stays.';

create table assets (
  file_id uuid primary key references files on delete cascade,
  organisation_id uuid not null references organisations on delete cascade,
  file_path text not null default '',
  tags text[] not null default '{}',
  created_at timestamptz not null default now(),
  expires_at timestamptz
);
create index assets_organisation on assets (organisation_id, file_path);
comment on table assets is 'What a client of the Comfy API said of a file that it uploaded.';
comment on column assets.file_id is 'The file (files.id), whose id is the asset''s.';
comment on column assets.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column assets.file_path is 'The path it was given; a label, never a place.';
comment on column assets.tags is 'Words it was given.';
comment on column assets.created_at is 'When the row was made.';
comment on column assets.expires_at is 'It may be forgotten from then on; null: kept.';

create table content_hashes (
  organisation_id uuid not null references organisations on delete cascade,
  sha256 bytea not null,
  blake3 bytea not null,
  primary key (organisation_id, sha256)
);
create index content_hashes_blake3 on content_hashes (organisation_id, blake3);
comment on table content_hashes is 'The blake3 hash of stored contents, where somebody computed it.';
comment on column content_hashes.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column content_hashes.sha256 is 'The content (files.sha256).';
comment on column content_hashes.blake3 is 'Its other hash, 32 bytes.';

create table object_infos (
  organisation_id uuid not null references organisations on delete cascade,
  hash bytea not null,
  body bytea not null,
  created_at timestamptz not null default now(),
  primary key (organisation_id, hash)
);
comment on table object_infos is 'What executors answer to /object_info; machines that answer the same share a row.';
comment on column object_infos.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column object_infos.hash is 'sha256 of the JSON; a machine names it in inventory.object_info.';
comment on column object_infos.body is 'The JSON, zlib-compressed.';
comment on column object_infos.created_at is 'When the first such machine sent it.';

create table comfyui_links (
  id uuid primary key,
  organisation_id uuid not null references organisations on delete cascade,
  code_hash bytea not null unique,
  code_expires_at timestamptz not null,
  token_hash bytea unique,
  expires_at timestamptz not null,
  role member_role not null,
  sender text not null,
  created_by uuid references users on delete cascade,
  created_at timestamptz not null default now(),
  used_at timestamptz,
  scopes text[] not null
);
create index comfyui_links_organisation on comfyui_links (organisation_id, id desc);
comment on table comfyui_links is 'A link that opens the ComfyUI facade in one browser, once; the browser then has a cookie.';
comment on column comfyui_links.id is 'UUIDv7.';
comment on column comfyui_links.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column comfyui_links.code_hash is 'sha256 of the code in the link.';
comment on column comfyui_links.code_expires_at is 'The link is refused from then on.';
comment on column comfyui_links.token_hash is 'sha256 of the cookie that the link was traded for; null: not yet.';
comment on column comfyui_links.expires_at is 'The cookie is refused from then on.';
comment on column comfyui_links.role is 'What the browser may do, at most its maker''s role.';
comment on column comfyui_links.sender is 'Whom it acts for, as in audit_log.';
comment on column comfyui_links.created_by is 'Who made the link (users.id); null for an API key without a maker.';
comment on column comfyui_links.created_at is 'When the row was made.';
comment on column comfyui_links.used_at is 'When it was traded; refused from then on.';
comment on column comfyui_links.scopes is 'What the browser may do of what its role allows, as resource:action.';

create table comfyui_files (
  organisation_id uuid not null references organisations on delete cascade,
  sender text not null,
  path text not null,
  file_id uuid not null references files on delete cascade,
  created_at timestamptz not null default now(),
  primary key (organisation_id, sender, path)
);
create index comfyui_files_file on comfyui_files (file_id);
comment on table comfyui_files is 'Names under which a ComfyUI client uploaded inputs.';
comment on column comfyui_files.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column comfyui_files.sender is 'Whose name it is, as in audit_log.';
comment on column comfyui_files.path is 'subfolder/name; a label, never a place.';
comment on column comfyui_files.file_id is 'The file (files.id).';
comment on column comfyui_files.created_at is 'When it was uploaded.';

create table comfyui_userdata (
  organisation_id uuid not null references organisations on delete cascade,
  sender text not null,
  path text not null,
  body bytea not null,
  created_at timestamptz not null default now(),
  modified_at timestamptz not null default now(),
  primary key (organisation_id, sender, path)
);
comment on table comfyui_userdata is 'What ComfyUI''s front end keeps for its user: settings, workflows.';
comment on column comfyui_userdata.organisation_id is 'The team that owns the row (organisations.id); every query filters by it.';
comment on column comfyui_userdata.sender is 'Whose it is, as in audit_log.';
comment on column comfyui_userdata.path is 'The file''s path within the user''s own; a label, never a place.';
comment on column comfyui_userdata.body is 'The bytes.';
comment on column comfyui_userdata.created_at is 'When it was first written.';
comment on column comfyui_userdata.modified_at is 'When it was last written.';

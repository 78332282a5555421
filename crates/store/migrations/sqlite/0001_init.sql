-- The first schema. Times are microseconds since 1970, flags 0 or 1, structured values JSON text.

create table settings (
    key text not null primary key,
    value text not null
) strict;

create table applications (
    name text not null primary key,
    is_active integer not null,
    image text not null,
    created_at integer not null,
    updated_at integer not null
) strict;

-- What versions say; never changed, shared by versions and deployments.
create table version_revisions (
    id text not null primary key,
    doc text not null
) strict;

-- seq: the order in which the versions of an application were made.
create table versions (
    app text not null references applications (name) on update cascade on delete cascade,
    name text not null,
    seq integer not null,
    revision text not null references version_revisions (id),
    created_at integer not null,
    updated_at integer not null,
    primary key (app, name)
) strict;
create index versions_by_revision on versions (revision);

-- Truth is in spec and state; the other columns repeat what queries need.
create table deployments (
    id text not null primary key,
    generation integer not null,
    spec text not null,
    state text not null,
    app text not null,
    version text not null,
    revision text not null references version_revisions (id),
    phase text not null,
    status text not null,
    live integer not null,
    joinable integer not null,
    available_sockets integer,
    fleet text,
    host text,
    created_at integer not null,
    due_at integer,
    terminated_at integer,
    lease_owner text,
    lease_until integer
) strict;
create index deployments_live on deployments (created_at, id) where live = 1;
create index deployments_by_host on deployments (host) where live = 1;
create index deployments_due on deployments (due_at) where due_at is not null;
create index deployments_terminated on deployments (terminated_at) where terminated_at is not null;
create index deployments_by_revision on deployments (revision);

create table deployment_tags (
    deployment_id text not null references deployments (id) on delete cascade,
    name text not null,
    primary key (deployment_id, name)
) strict, without rowid;
create index deployment_tags_by_name on deployment_tags (name);

create table deployment_events (
    seq integer not null primary key,
    deployment_id text not null references deployments (id) on delete cascade,
    at integer not null,
    kind text not null,
    detail text not null
) strict;
create index deployment_events_by_deployment on deployment_events (deployment_id, seq);

-- What is reserved on each host.
create table host_usage (
    host text not null primary key,
    cpu integer not null,
    memory integer not null,
    deployments integer not null
) strict;

-- free_at is null: held. Else in quarantine or banned until then. A row without a deployment is a ban.
create table port_leases (
    host text not null,
    transport text not null,
    port integer not null,
    deployment_id text,
    free_at integer,
    primary key (host, transport, port)
) strict, without rowid;
create index port_leases_by_deployment on port_leases (deployment_id) where deployment_id is not null;
create index port_leases_expiring on port_leases (free_at) where free_at is not null;

create table webhook_outbox (
    id text not null primary key,
    deployment_id text not null,
    seq integer not null,
    event text not null,
    url text not null,
    body text not null,
    state text not null,
    attempts integer not null,
    next_at integer not null,
    last_error text,
    created_at integer not null,
    delivered_at integer,
    lease_owner text,
    lease_until integer
) strict;
create index webhook_outbox_pending on webhook_outbox (next_at) where state = 'pending';
create index webhook_outbox_dead on webhook_outbox (created_at, id) where state = 'dead';
create index webhook_outbox_by_deployment on webhook_outbox (deployment_id, seq);

create table idempotency (
    key text not null primary key,
    body_hash blob not null,
    deployment_id text not null,
    expires_at integer not null
) strict;
create index idempotency_expiring on idempotency (expires_at);

create table tokens (
    id text not null primary key,
    secret_hash blob not null unique,
    name text not null,
    scope text not null,
    apps text not null,
    created_at integer not null,
    expires_at integer,
    revoked_at integer,
    last_used_at integer
) strict;

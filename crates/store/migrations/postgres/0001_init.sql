-- The first schema. Times are microseconds since 1970, flags 0 or 1, structured values JSON text.

create table settings (
    key text collate "C" not null primary key,
    value text not null
);

create table applications (
    name text collate "C" not null primary key,
    is_active bigint not null,
    image text not null,
    created_at bigint not null,
    updated_at bigint not null
);

-- What versions say; never changed, shared by versions and deployments.
create table version_revisions (
    id text collate "C" not null primary key,
    doc text not null
);

-- seq: the order in which the versions of an application were made.
create table versions (
    app text collate "C" not null references applications (name) on update cascade on delete cascade,
    name text collate "C" not null,
    seq bigint not null,
    revision text not null references version_revisions (id),
    created_at bigint not null,
    updated_at bigint not null,
    primary key (app, name)
);
create index versions_by_revision on versions (revision);

-- Truth is in spec and state; the other columns repeat what queries need.
create table deployments (
    id text collate "C" not null primary key,
    generation bigint not null,
    spec text not null,
    state text not null,
    app text collate "C" not null,
    version text not null,
    revision text not null references version_revisions (id),
    phase text not null,
    status text not null,
    live bigint not null,
    joinable bigint not null,
    available_sockets bigint,
    fleet text,
    host text,
    created_at bigint not null,
    due_at bigint,
    terminated_at bigint,
    lease_owner text,
    lease_until bigint
);
create index deployments_live on deployments (created_at, id) where live = 1;
create index deployments_by_host on deployments (host) where live = 1;
create index deployments_due on deployments (due_at) where due_at is not null;
create index deployments_terminated on deployments (terminated_at) where terminated_at is not null;
create index deployments_by_revision on deployments (revision);

create table deployment_tags (
    deployment_id text not null references deployments (id) on delete cascade,
    name text collate "C" not null,
    primary key (deployment_id, name)
);
create index deployment_tags_by_name on deployment_tags (name);

create table deployment_events (
    seq bigint generated always as identity primary key,
    deployment_id text not null references deployments (id) on delete cascade,
    at bigint not null,
    kind text not null,
    detail text not null
);
create index deployment_events_by_deployment on deployment_events (deployment_id, seq);

-- What is reserved on each host.
create table host_usage (
    host text not null primary key,
    cpu bigint not null,
    memory bigint not null,
    deployments bigint not null
);

-- free_at is null: held. Else in quarantine or banned until then. A row without a deployment is a ban.
create table port_leases (
    host text not null,
    transport text not null,
    port bigint not null,
    deployment_id text,
    free_at bigint,
    primary key (host, transport, port)
);
create index port_leases_by_deployment on port_leases (deployment_id) where deployment_id is not null;
create index port_leases_expiring on port_leases (free_at) where free_at is not null;

create table webhook_outbox (
    id text collate "C" not null primary key,
    deployment_id text not null,
    seq bigint not null,
    event text not null,
    url text not null,
    body text not null,
    state text not null,
    attempts bigint not null,
    next_at bigint not null,
    last_error text,
    created_at bigint not null,
    delivered_at bigint,
    lease_owner text,
    lease_until bigint
);
create index webhook_outbox_pending on webhook_outbox (next_at) where state = 'pending';
create index webhook_outbox_dead on webhook_outbox (created_at, id) where state = 'dead';
create index webhook_outbox_by_deployment on webhook_outbox (deployment_id, seq);

create table idempotency (
    key text collate "C" not null primary key,
    body_hash bytea not null,
    deployment_id text not null,
    expires_at bigint not null
);
create index idempotency_expiring on idempotency (expires_at);

create table tokens (
    id text collate "C" not null primary key,
    secret_hash bytea not null unique,
    name text collate "C" not null,
    scope text not null,
    apps text not null,
    created_at bigint not null,
    expires_at bigint,
    revoked_at bigint,
    last_used_at bigint
);

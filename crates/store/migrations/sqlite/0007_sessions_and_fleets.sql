-- Sessions and smart fleets.

-- What the sessions on a deployment take. session_seq counts their changes, so that whoever decides by them notices.
alter table deployments add column session_count integer not null default 0;
alter table deployments add column session_seq integer not null default 0;
alter table deployments add column policy text;
create index deployments_by_policy on deployments (policy) where policy is not null and live = 1;
create index deployments_by_version on deployments (app, version) where live = 1;

-- Truth is in doc; the other columns repeat what queries need. forget_at is null: linked.
create table sessions (
    id text not null primary key,
    generation integer not null,
    app text not null,
    deployment_id text,
    custom_id text,
    phase text not null,
    sockets integer not null,
    doc text not null,
    created_at integer not null,
    forget_at integer
) strict;
create index sessions_by_deployment on sessions (deployment_id) where phase = 'linked';
create unique index sessions_by_custom_id on sessions (deployment_id, custom_id) where phase = 'linked';
create index sessions_active on sessions (created_at, id) where phase in ('linked', 'unprocessable');
create index sessions_forgotten on sessions (forget_at) where forget_at is not null;

create table fleets (
    name text not null primary key,
    enabled integer not null,
    created_at integer not null,
    updated_at integer not null
) strict;

create table fleet_policies (
    id text not null primary key,
    fleet text not null references fleets (name) on update cascade on delete cascade,
    name text not null,
    spec text not null,
    created_at integer not null,
    updated_at integer not null,
    unique (fleet, name)
) strict;

create table fleet_links (
    fleet text not null references fleets (name) on update cascade on delete cascade,
    app text not null,
    version text not null,
    created_at integer not null,
    primary key (fleet, app, version),
    foreign key (app, version) references versions (app, name) on update cascade on delete cascade
) strict;

-- What has to be looked at: one row for each policy and each version that its fleet links. creations counts the deployments
-- that were made for it, and wakes what has happened to it: whoever looks compares both.
create table fleet_units (
    policy text not null references fleet_policies (id) on delete cascade,
    fleet text not null,
    app text not null,
    version text not null,
    creations integer not null,
    wakes integer not null,
    due_at integer,
    lease_owner text,
    lease_until integer,
    primary key (policy, app, version),
    foreign key (fleet, app, version) references fleet_links (fleet, app, version) on update cascade on delete cascade
) strict;
create index fleet_units_due on fleet_units (due_at) where due_at is not null;

-- How often a revision may be started by fleets: full again at full_at.
create table fleet_budgets (
    revision text not null primary key,
    full_at integer not null
) strict;

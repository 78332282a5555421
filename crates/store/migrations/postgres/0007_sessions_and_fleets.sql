-- Sessions and smart fleets.

-- What the sessions on a deployment take. session_seq counts their changes, so that whoever decides by them notices.
alter table deployments add column session_count bigint not null default 0;
alter table deployments add column session_seq bigint not null default 0;
alter table deployments add column policy text;
create index deployments_by_policy on deployments (policy) where policy is not null and live = 1;
create index deployments_by_version on deployments (app, version) where live = 1;

-- Truth is in doc; the other columns repeat what queries need. forget_at is null: linked.
create table sessions (
    id text collate "C" not null primary key,
    generation bigint not null,
    app text not null,
    deployment_id text collate "C",
    custom_id text collate "C",
    phase text not null,
    sockets bigint not null,
    doc text not null,
    created_at bigint not null,
    forget_at bigint
);
create index sessions_by_deployment on sessions (deployment_id) where phase = 'linked';
create unique index sessions_by_custom_id on sessions (deployment_id, custom_id) where phase = 'linked';
create index sessions_active on sessions (created_at, id) where phase in ('linked', 'unprocessable');
create index sessions_forgotten on sessions (forget_at) where forget_at is not null;

create table fleets (
    name text collate "C" not null primary key,
    enabled bigint not null,
    created_at bigint not null,
    updated_at bigint not null
);

create table fleet_policies (
    id text collate "C" not null primary key,
    fleet text collate "C" not null references fleets (name) on update cascade on delete cascade,
    name text collate "C" not null,
    spec text not null,
    created_at bigint not null,
    updated_at bigint not null,
    unique (fleet, name)
);

create table fleet_links (
    fleet text collate "C" not null references fleets (name) on update cascade on delete cascade,
    app text collate "C" not null,
    version text collate "C" not null,
    created_at bigint not null,
    primary key (fleet, app, version),
    foreign key (app, version) references versions (app, name) on update cascade on delete cascade
);

-- What has to be looked at: one row for each policy and each version that its fleet links. creations counts the deployments
-- that were made for it, and wakes what has happened to it: whoever looks compares both.
create table fleet_units (
    policy text collate "C" not null references fleet_policies (id) on delete cascade,
    fleet text collate "C" not null,
    app text collate "C" not null,
    version text collate "C" not null,
    creations bigint not null,
    wakes bigint not null,
    due_at bigint,
    lease_owner text,
    lease_until bigint,
    primary key (policy, app, version),
    foreign key (fleet, app, version) references fleet_links (fleet, app, version) on update cascade on delete cascade
);
create index fleet_units_due on fleet_units (due_at) where due_at is not null;

-- How often a revision may be started by fleets: full again at full_at.
create table fleet_budgets (
    revision text collate "C" not null primary key,
    full_at bigint not null
);

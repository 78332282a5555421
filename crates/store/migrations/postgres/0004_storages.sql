-- S3 buckets of users: where logs go at the end of a deployment, and what is copied into containers before they start.

create table endpoint_storages (
    name text collate "C" not null primary key,
    access_key_id text not null,
    secret text not null,
    endpoint text not null,
    bucket text not null,
    output_format text not null,
    created_at bigint not null,
    updated_at bigint not null
);

-- Names that a storage had: versions and deployments that say one of them still mean it.
create table endpoint_storage_aliases (
    alias text collate "C" not null primary key,
    storage text collate "C" not null references endpoint_storages (name) on update cascade on delete cascade
);
create index endpoint_storage_aliases_by_storage on endpoint_storage_aliases (storage);

create table pull_profiles (
    storage text collate "C" not null references endpoint_storages (name) on update cascade on delete cascade,
    name text collate "C" not null,
    source text not null,
    source_type text not null,
    destination text not null,
    created_at bigint not null,
    updated_at bigint not null,
    primary key (storage, name)
);

create table pull_profile_links (
    app text collate "C" not null,
    version text collate "C" not null,
    storage text collate "C" not null,
    profile text collate "C" not null,
    created_at bigint not null,
    updated_at bigint not null,
    primary key (app, version, storage, profile),
    foreign key (app, version) references versions (app, name) on update cascade on delete cascade,
    foreign key (storage, profile) references pull_profiles (storage, name) on update cascade on delete cascade
);
create index pull_profile_links_by_profile on pull_profile_links (storage, profile);

-- Logs on their way into a storage. kind: container or crash. node: the control plane that has the file called spool.
create table log_uploads (
    deployment_id text collate "C" not null,
    kind text collate "C" not null,
    attempt bigint not null,
    storage text collate "C" references endpoint_storages (name) on update cascade on delete set null,
    object_key text not null,
    node text collate "C" not null,
    spool text not null,
    bytes bigint not null,
    state text not null,
    attempts bigint not null,
    next_at bigint not null,
    last_error text,
    created_at bigint not null,
    ended_at bigint,
    primary key (deployment_id, kind)
);
create index log_uploads_pending on log_uploads (node, next_at) where state = 'pending';
create index log_uploads_by_storage on log_uploads (storage) where storage is not null;

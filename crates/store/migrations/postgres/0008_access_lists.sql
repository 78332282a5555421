-- Networks that may reach the deployments of a version. No reference to versions: the list of one that was renamed or
-- removed stays for the deployments that still run under the old name, and goes after them.

create table access_entries (
    app text not null,
    version text not null,
    id bigint not null,
    network text not null,
    label text not null,
    is_active bigint not null,
    created_at bigint not null,
    primary key (app, version, id)
);

-- Requests for the order of deployments by players, kept for a while. deployments and players are JSON lists.
create table telemetry_requests (
    key text not null primary key,
    token text not null,
    deployments text not null,
    players text not null,
    created_at integer not null,
    expires_at integer not null
) strict;
create index telemetry_requests_by_token on telemetry_requests (token, created_at);
create index telemetry_requests_expiring on telemetry_requests (expires_at);

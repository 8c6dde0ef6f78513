-- The gate of a collection. A write by ids shares it; a write by filter and a change of the tables
-- have it alone. It is held to the end of the transaction. Whoever comes with a catalogue that is
-- not the present one is turned away, so that no write is made for tables as they were.
create or replace function qd.gate(_cid int, _known bigint, _alone boolean) returns void
language plpgsql as $$
declare
  _present bigint;
begin
  if _alone then
    perform pg_catalog.pg_advisory_xact_lock(20818, _cid);
  else
    perform pg_catalog.pg_advisory_xact_lock_shared(20818, _cid);
  end if;
  select c.epoch into _present from qdc.collections c where c.cid = _cid;
  if _present is distinct from _known then
    raise exception 'the collection has changed' using errcode = 'QD001';
  end if;
end $$;

-- A number that was not there before and will not be again, as a version or an epoch. One counted
-- up would be given twice where a change is lost and another made in its place: by a standby that
-- was behind when it took over, or by a backup put back.
create or replace function qd.token() returns bigint
language sql volatile as $$
  select ('x' || pg_catalog.translate(
    pg_catalog.substr(pg_catalog.gen_random_uuid()::text, 20), '-', ''))::bit(60)::bigint
$$;
alter table qdc.collections alter column epoch set default qd.token();
update qdc.state set version = qd.token();

-- Tells the other sidecars, when the transaction commits, that the catalogue has changed, and the
-- follower, if there is one. Whether there is one is asked once the row of `qdc.state` is ours, as it
-- is of whoever changes that: it is not changed under us.
create or replace function qd.changed(_cid int) returns void
language plpgsql as $$
begin
  if _cid <> 0 then
    update qdc.collections set epoch = qd.token() where cid = _cid;
  end if;
  update qdc.state set version = qd.token();
  perform qd.mark('s', c.name) from qdc.collections c where c.cid = _cid;
  perform pg_catalog.pg_notify('qd', _cid::text);
end $$;

-- Tells the sidecars, when the transaction commits, that somebody has written, and the word of the
-- sidecar that did (`qd.own`): it need not heed that itself. Those that tell one another by Redis
-- have the word `on`, and nothing is told here: whoever tells commits by himself, one after the
-- other. Runs as whoever writes, so it asks for no right on anything of ours.
create or replace function qd.written() returns trigger
language plpgsql as $$
declare
  _own text := coalesce(pg_catalog.current_setting('qd.own', true), '');
begin
  if _own <> 'on' then
    perform pg_catalog.pg_notify('qd_rows', tg_argv[0] || ' ' || _own);
  end if;
  return null;
end $$;

-- Has every statement that writes to a table of the collection told.
create or replace function qd.watch(_table text, _cid int) returns void
language plpgsql as $$
begin
  execute pg_catalog.format(
    'create trigger outrigger_written after insert or update or delete or truncate on %s '
    'for each statement execute function qd.written(%L)', _table, _cid);
end $$;

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

-- Tells the other sidecars, when the transaction commits, that the catalogue has changed.
create or replace function qd.changed(_cid int) returns void
language plpgsql as $$
begin
  update qdc.state set version = version + 1;
  if _cid <> 0 then
    update qdc.collections set epoch = epoch + 1 where cid = _cid;
  end if;
  perform pg_catalog.pg_notify('qd', _cid::text);
end $$;

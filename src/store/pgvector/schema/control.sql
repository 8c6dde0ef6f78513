-- The control tables: which mode is in force, the change of it that is under way, and who has seen
-- what. Everything here may run again.
--
-- Every call is one function, so that it is one round trip and its conditions are checked where all
-- see the same. Whoever changes the state has the lock alone, whoever says what he has seen shares
-- it: no sidecar comes to life, or says something, while others are counted. Each statement of a
-- function sees what was committed before it, hence also what the lock was waited for. Times are
-- those of this server's clock and no other.

create schema if not exists qd_control;

create table if not exists qd_control.install (format int not null);

create table if not exists qd_control.state (
  singleton boolean primary key default true check (singleton),
  epoch bigint not null default 0,
  -- Not looked into here.
  modes text
);
insert into qd_control.state default values on conflict do nothing;

create table if not exists qd_control.change (
  singleton boolean primary key default true check (singleton),
  id text not null,
  who text not null,
  from_mode text not null,
  to_mode text not null,
  -- A collection; null is all that has no mode of its own.
  scope text,
  -- Whether sidecars have to hold their writes for it.
  fenced boolean not null,
  -- What else belongs to it. Not looked into here.
  detail text not null,
  phase text not null check (phase in ('arming', 'flipped')),
  deadline timestamptz not null,
  started_at timestamptz not null
);

create table if not exists qd_control.history (
  number bigint generated always as identity primary key,
  epoch bigint not null,
  at timestamptz not null,
  who text not null,
  collection text,
  from_mode text not null,
  to_mode text not null,
  why text not null,
  forced boolean not null
);

create table if not exists qd_control.sidecars (
  id text primary key,
  name text not null,
  started_at timestamptz not null,
  -- Infinity: it goes on while these tables are out of reach, and is waited for until it leaves.
  lease_until timestamptz not null,
  armed_change text,
  flipped_change text
);
alter table qd_control.sidecars drop column if exists seen_epoch;
alter table qd_control.sidecars
  add column if not exists heard_at timestamptz not null default clock_timestamp(),
  -- Of the beat that was heard last.
  add column if not exists number bigint not null default 0;

create table if not exists qd_control.facts (key text primary key, value text not null);

create or replace function qd_control.lock(_alone boolean) returns void
language plpgsql as $$
begin
  if _alone then
    perform pg_catalog.pg_advisory_xact_lock(20821, 0);
  else
    perform pg_catalog.pg_advisory_xact_lock_shared(20821, 0);
  end if;
end $$;

create or replace function qd_control.tell() returns void
language sql volatile as $$ select pg_catalog.pg_notify('qd_control', '') $$;

create or replace function qd_control.look(_id text) returns text
language sql volatile as $$
  select json_build_object('epoch', s.epoch, 'modes', s.modes,
    'change', (select json_build_object('id', c.id, 'who', c.who, 'from', c.from_mode,
        'to', c.to_mode, 'scope', c.scope, 'fenced', c.fenced, 'detail', c.detail, 'phase', c.phase,
        'expired', c.deadline <= clock_timestamp(),
        'left_ms', greatest(0, extract(epoch from c.deadline - clock_timestamp()) * 1000)::int8,
        'age_ms', greatest(0, extract(epoch from clock_timestamp() - c.started_at) * 1000)::int8)
      from qd_control.change c),
    'others', coalesce((select json_agg(json_build_object('id', o.id, 'name', o.name,
        'live', o.lease_until > clock_timestamp(), 'lasts', o.lease_until = 'infinity',
        'silent_ms', greatest(0, extract(epoch from clock_timestamp() - o.heard_at) * 1000)::int8,
        'armed', o.armed_change, 'flipped', o.flipped_change) order by o.id)
      from qd_control.sidecars o where o.id <> _id), '[]'))::text
  from qd_control.state s
$$;

drop function if exists qd_control.beat(text, text, interval, bigint, text, text);

-- Says that a sidecar lives, and what it has done. Beats are numbered: one that comes late, after a
-- later one, takes nothing back.
create or replace function qd_control.beat(_id text, _name text, _lease interval, _lasts boolean,
  _number bigint, _armed text, _flipped text) returns text
language plpgsql as $$
declare
  _before record;
begin
  perform qd_control.lock(false);
  select s.armed_change, s.flipped_change into _before from qd_control.sidecars s where s.id = _id;
  if not found or (_before.armed_change, _before.flipped_change)
      is distinct from (_armed, _flipped) then
    perform qd_control.tell();
  end if;
  insert into qd_control.sidecars as s (id, name, started_at, lease_until, armed_change,
      flipped_change, heard_at, number)
    values (_id, _name, clock_timestamp(),
      case when _lasts then 'infinity' else clock_timestamp() + _lease end, _armed, _flipped,
      clock_timestamp(), _number)
  on conflict (id) do update set name = excluded.name, lease_until = excluded.lease_until,
    armed_change = excluded.armed_change, flipped_change = excluded.flipped_change,
    heard_at = excluded.heard_at, number = excluded.number
    where excluded.number > s.number;
  return qd_control.look(_id);
end $$;

create or replace function qd_control.leave(_id text) returns void
language plpgsql as $$
begin
  perform qd_control.lock(false);
  delete from qd_control.sidecars where id = _id;
  perform qd_control.tell();
end $$;

-- Forgets sidecars of this name that would be waited for however long they are silent, if they
-- have been for so long.
create or replace function qd_control.forget(_name text, _silent interval) returns bigint
language plpgsql as $$
declare
  _count bigint;
begin
  perform qd_control.lock(true);
  delete from qd_control.sidecars where name = _name and lease_until = 'infinity'
    and heard_at < clock_timestamp() - _silent;
  get diagnostics _count = row_count;
  perform qd_control.tell();
  return _count;
end $$;

create or replace function qd_control.initialise(_modes text) returns text
language plpgsql as $$
begin
  perform qd_control.lock(true);
  update qd_control.state set modes = _modes, epoch = epoch + 1 where modes is null;
  if found then
    perform qd_control.tell();
  end if;
  return qd_control.look('');
end $$;

-- Whether it was begun: not where another is under way, nor where the caller has seen an older
-- state. One that nobody brings to its end is ended by whoever sees that its time is over.
create or replace function qd_control.begin_change(_id text, _who text, _from text, _to text,
  _scope text, _fenced boolean, _detail text, _epoch bigint, _patience interval) returns boolean
language plpgsql as $$
begin
  perform qd_control.lock(true);
  if exists (select 1 from qd_control.change c)
     or not exists (select 1 from qd_control.state s where s.epoch = _epoch) then
    return false;
  end if;
  insert into qd_control.change (id, who, from_mode, to_mode, scope, fenced, detail, phase,
      deadline, started_at)
    values (_id, _who, _from, _to, _scope, _fenced, _detail, 'arming',
      clock_timestamp() + _patience, clock_timestamp());
  -- Those that are long gone are of no interest any more.
  delete from qd_control.sidecars where lease_until < clock_timestamp() - interval '1 day';
  perform qd_control.tell();
  return true;
end $$;

-- Whether the new modes are in force now: not past the deadline, and not while a sidecar lives that
-- has not armed, if it has to.
create or replace function qd_control.flip(_id text, _modes text, _history json) returns boolean
language plpgsql as $$
begin
  perform qd_control.lock(true);
  update qd_control.change set phase = 'flipped'
    where id = _id and phase = 'arming' and deadline > clock_timestamp()
    and not (fenced and exists (select 1 from qd_control.sidecars s
      where s.lease_until > clock_timestamp() and s.armed_change is distinct from _id));
  if not found then
    return false;
  end if;
  update qd_control.state set epoch = epoch + 1, modes = _modes;
  insert into qd_control.history (epoch, at, who, collection, from_mode, to_mode, why, forced)
    select s.epoch, clock_timestamp(), h.who, h.collection, h.from_mode, h.to_mode, h.why, h.forced
    from qd_control.state s, json_to_recordset(_history)
      h(who text, collection text, from_mode text, to_mode text, why text, forced boolean);
  perform qd_control.tell();
  return true;
end $$;

-- Whether it is finished by now: not while a sidecar lives that does not go by the new modes. Where
-- writes were held, one that has not said so holds its own: past the time of the change only those
-- are waited for that go on without these tables.
create or replace function qd_control.finish(_id text) returns boolean
language plpgsql as $$
begin
  perform qd_control.lock(true);
  delete from qd_control.change where id = _id and phase = 'flipped'
    and not exists (select 1 from qd_control.sidecars s
      where s.flipped_change is distinct from _id and (s.lease_until = 'infinity'
        or (s.lease_until > clock_timestamp()
          and (deadline > clock_timestamp() or not fenced))));
  if found then
    perform qd_control.tell();
  end if;
  return not exists (select 1 from qd_control.change c where c.id = _id);
end $$;

-- The phase in which the change was found; null where it is not there. One that was flipped stays.
create or replace function qd_control.abandon(_id text) returns text
language plpgsql as $$
declare
  _phase text;
begin
  perform qd_control.lock(true);
  select c.phase into _phase from qd_control.change c where c.id = _id;
  if _phase = 'arming' then
    delete from qd_control.change where id = _id;
    perform qd_control.tell();
  end if;
  return _phase;
end $$;

-- What adopted tables need. Everything here may run again. Nothing of it depends on a user's table.

-- How an adopted table is shown, as JSON; null for a collection of our own.
alter table qdc.collections add column if not exists mapping text;

-- The place of a row as a number, and back.
create or replace function qd.pid(t tid) returns bigint
language sql immutable parallel safe as $$
  select ('x' || encode(tidsend(t), 'hex'))::bit(48)::bigint
$$;
create or replace function qd.tids(pids bigint[]) returns tid[]
language sql immutable parallel safe as $$
  select array(select format('(%s,%s)', p >> 16, p & 65535)::tid from unnest(pids) p)
$$;

-- Whether a text is a UUID, in the forms that lookups by id know.
create or replace function qd.is_uuid(s text) returns bool
language sql immutable parallel safe as $$
  select s ~ '^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}|[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}|[0-9A-F]{32})$'
$$;

-- Any other text as a UUID of version 5: SHA-1, which PostgreSQL itself has not, of the namespace
-- and the text.
create or replace function qd.uuid5(s text) returns uuid
language plpgsql immutable strict parallel safe as $$
declare
  m bytea := '\x7c5b0d5e3c0e5d0a9b1e6f7574726967'::bytea || convert_to(s, 'UTF8');
  bits bigint := length(m) * 8;
  w bigint[];
  h0 bigint := 1732584193; h1 bigint := 4023233417; h2 bigint := 2562383102;
  h3 bigint := 271733878; h4 bigint := 3285377520;
  a bigint; b bigint; c bigint; d bigint; e bigint; t bigint;
  hex text;
begin
  m := m || '\x80'::bytea;
  while length(m) % 64 <> 56 loop m := m || '\x00'::bytea; end loop;
  m := m || int8send(bits);
  for block in 0 .. length(m) / 64 - 1 loop
    select array_agg(('x' || encode(substr(m, block * 64 + i * 4 + 1, 4), 'hex'))::bit(32)::bigint order by i)
      into w from generate_series(0, 15) i;
    for i in 17 .. 80 loop
      t := w[i - 3] # w[i - 8] # w[i - 14] # w[i - 16];
      w[i] := ((t << 1) | (t >> 31)) & 4294967295;
    end loop;
    a := h0; b := h1; c := h2; d := h3; e := h4;
    for i in 1 .. 20 loop
      t := (((a << 5) | (a >> 27)) + (d # (b & (c # d))) + e + 1518500249 + w[i]) & 4294967295;
      e := d; d := c; c := ((b << 30) | (b >> 2)) & 4294967295; b := a; a := t;
    end loop;
    for i in 21 .. 40 loop
      t := (((a << 5) | (a >> 27)) + (b # c # d) + e + 1859775393 + w[i]) & 4294967295;
      e := d; d := c; c := ((b << 30) | (b >> 2)) & 4294967295; b := a; a := t;
    end loop;
    for i in 41 .. 60 loop
      t := (((a << 5) | (a >> 27)) + ((b & c) | (d & (b | c))) + e + 2400959708 + w[i]) & 4294967295;
      e := d; d := c; c := ((b << 30) | (b >> 2)) & 4294967295; b := a; a := t;
    end loop;
    for i in 61 .. 80 loop
      t := (((a << 5) | (a >> 27)) + (b # c # d) + e + 3395469782 + w[i]) & 4294967295;
      e := d; d := c; c := ((b << 30) | (b >> 2)) & 4294967295; b := a; a := t;
    end loop;
    h0 := (h0 + a) & 4294967295; h1 := (h1 + b) & 4294967295; h2 := (h2 + c) & 4294967295;
    h3 := (h3 + d) & 4294967295; h4 := (h4 + e) & 4294967295;
  end loop;
  hex := lpad(to_hex(h0), 8, '0') || lpad(to_hex(h1), 8, '0') || lpad(to_hex(h2), 8, '0') || lpad(to_hex(h3), 8, '0');
  return overlay(overlay(hex placing '5' from 13) placing
    substr('89ab', 1 + (strpos('0123456789abcdef', substr(hex, 17, 1)) - 1) % 4, 1) from 17)::uuid;
end $$;

-- A text as the key of a point.
create or replace function qd.text_id(s text) returns bytea
language sql stable parallel safe as $$
  select '\x01'::bytea || uuid_send(case when qd.is_uuid(s) then s::uuid else qd.uuid5(s) end)
$$;

-- json as jsonb. NUL, which jsonb has not, becomes the pair that stands for it in payloads.
create or replace function qd.jsonb(j json) returns jsonb
language sql immutable parallel safe as $$
  select case when strpos(j::text, '\u0000') = 0 then j::jsonb
    else regexp_replace(j::text, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\uF8FA\\uF8FD', 'g')::jsonb end
$$;

-- The payload of a LlamaIndex node: its text, which has a column of its own, back where the
-- framework's Qdrant integration keeps it. The order of the keys in the node's JSON is kept.
-- Parallel plans know no blocks that catch errors.
create or replace function qd.llama(meta jsonb, body text) returns jsonb
language plpgsql immutable parallel unsafe as $$
declare
  node json;
  parts text;
  resource text := '{"embeddings": null, "text": ' || coalesce(to_json(body)::text, 'null')
    || ', "path": null, "url": null, "mimetype": null}';
begin
  if jsonb_typeof(meta) is distinct from 'object' then
    meta := '{}';
  end if;
  begin
    node := (meta ->> '_node_content')::json;
  exception when others then
    node := null;
  end;
  if node is null or json_typeof(node) <> 'object' then
    return meta || jsonb_build_object('text', body);
  end if;
  select string_agg(to_json(key)::text || ': ' ||
      case when key = 'text' then coalesce(to_json(body)::text, 'null') else value::text end,
      ', ' order by o)
    into parts from json_each(node) with ordinality e(key, value, o);
  if not exists (select 1 from json_object_keys(node) k where k = 'text')
     or (meta ->> '_node_type' = 'Document'
         and not exists (select 1 from json_object_keys(node) k where k = 'text_resource')) then
    parts := concat_ws(', ', parts, '"text_resource": ' || resource);
  end if;
  return meta || jsonb_build_object('_node_content', '{' || parts || '}');
end $$;

-- The words of the texts under a path, for text conditions on adopted tables, which have no table
-- of words beside them. `splitter` is what stands between words.
create or replace function qd.words(p jsonb, path jsonpath, splitter text, lower_case bool)
returns text[]
language sql immutable parallel safe as $$
  select coalesce(array_agg(w), '{}') from qd.flat(p, path) e,
    regexp_split_to_table(case when lower_case then lower(qd.str(e)) else qd.str(e) end, splitter) w
  where w <> ''
$$;

-- The way back: a payload of a LlamaIndex node as its metadata column has it, and its text.
create or replace function qd.llama_meta(p jsonb) returns jsonb
language plpgsql immutable parallel unsafe as $$
declare
  node jsonb;
begin
  begin
    node := (p ->> '_node_content')::jsonb;
  exception when others then
    node := null;
  end;
  if jsonb_typeof(node) is distinct from 'object' then
    return p - 'text';
  end if;
  if node ? 'text' then
    node := node || '{"text": ""}';
  end if;
  return p || jsonb_build_object('_node_content', (node - 'text_resource')::text);
end $$;

create or replace function qd.llama_text(p jsonb) returns text
language plpgsql immutable parallel unsafe as $$
declare
  node jsonb;
begin
  begin
    node := (p ->> '_node_content')::jsonb;
  exception when others then
    node := null;
  end;
  if jsonb_typeof(node) is distinct from 'object' then
    return p ->> 'text';
  end if;
  return coalesce(node ->> 'text', node -> 'text_resource' ->> 'text', p ->> 'text');
end $$;

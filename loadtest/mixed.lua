-- Nine reads to each write, at a steady rate: the reads by a rough Zipf law, the writes of a point
-- each. The store behind may say what it likes; what counts is that every request is answered.
--
-- Arguments after `--`: the mean pause before each request in milliseconds, and a seed.

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("thread_number", threads)
end

function init(arguments)
  local pause_ms_mean, seed = tonumber(arguments[1]), tonumber(arguments[2])
  math.randomseed(seed * 1000 + thread_number)
  wrk.headers["Content-Type"] = "application/json"
  local reads, writes = {}, {}
  for number = 1, 2000 do
    local search = string.format('{"query": [%d, 0.5], "limit": 10}', number)
    reads[number] = wrk.format("POST", "/collections/mixed/points/query", nil, search)
    local points = string.format('{"points": [{"id": %d, "vector": [%d, 1]}]}', number, number)
    local target = "/collections/other/points?wait=true"
    writes[number] = wrk.format("PUT", target, nil, points)
  end
  function request()
    if math.random() < 0.1 then
      return writes[math.random(#writes)]
    end
    return reads[math.floor((#reads) ^ math.random())]
  end
  function delay()
    return math.floor(-math.log(1 - math.random()) * pause_ms_mean + 0.5)
  end
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
  io.write(string.format(
    '\nRESULT {"requests": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, "failed": %d}\n',
    summary.requests, latency:percentile(50), latency:percentile(99), latency.max, failed))
end

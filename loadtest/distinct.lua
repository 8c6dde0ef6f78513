-- Every request asks something that was not asked before.
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("thread_number", threads)
end

function init()
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  asked = 0
end

function request()
  asked = asked + 1
  local body = string.format('{"query": %d.%d, "limit": 10}', thread_number, asked)
  return wrk.format("POST", "/collections/many/points/query", nil, body)
end

function done(summary)
  io.write(string.format('\nRESULT {"requests": %d}\n', summary.requests))
end

-- How packets reach those who listen: to a channel for each group, of which patterns bring all.

local function send(channels, group, packet)
  call('PUBLISH', channels .. group, packet)
end

local function send_rest()
end

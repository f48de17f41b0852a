-- Remembers which requests were lost with a cell that may have read them. HAProxy repeats a request in
-- the same way whether the cell ended with it or no connection could be made; what answers the repetition
-- must know which it was. Nothing here runs for a request that is answered.

-- What is noted, by ray.
local lost = {}
-- A repetition follows within a millisecond, or never.
local KEPT_SECONDS = 10

core.register_action("note_lost", { "tcp-res" }, function(txn)
  local ray = txn:get_var("txn.ray")
  if ray ~= nil then
    lost[ray] = { cell = txn:get_var("txn.cell"), second = core.now().sec }
  end
end)

-- The cell that the request was lost with; empty when there was none.
core.register_fetches("lost_cell", function(txn)
  local ray = txn.f:req_fhdr("cf-ray")
  local noted = lost[ray]
  lost[ray] = nil
  return noted and noted.cell or ""
end)

core.register_task(function()
  while true do
    core.sleep(KEPT_SECONDS)
    local oldest = core.now().sec - KEPT_SECONDS
    for ray, noted in pairs(lost) do
      if noted.second < oldest then lost[ray] = nil end
    end
  end
end)

# SPDX-License-Identifier: GPL-2.0-or-later
# The summary as text. jq -r --argjson about OBJECT --argjson order OBJECT -f table.jq results.json

def right($n): tostring | (" " * ([$n - length, 0] | max) // "") + .;
def left($n): tostring | . + (" " * ([$n - length, 0] | max) // "");
# Three or so digits.
def short:
  if . == null then "-"
  elif . < 0.0005 and . > -0.0005 then "0"
  elif . >= 100 or . <= -100 then round | tostring
  elif . >= 10 or . <= -10 then (. * 10 | round) / 10 | tostring
  else (. * 100 | round) / 100 | tostring end;
def place($list): . as $name | $list | index($name) // 999;

def result_head:
  ("system" | left(18)) + ([["rate/s", 9], ["MB/s", 8], ["of raw", 8], ["of lin.", 8], ["spread", 7], ["p50 us", 9], ["p99 us", 9],
    ["CPU us", 8], ["of lin.", 8], ["o.read", 8], ["o.write", 8], ["s.read", 8], ["s.write", 8], ["s.w.IOs", 8], ["mem", 7]]
    | map(. as [$text, $width] | $text | right($width)) | add);
def result_line:
  (.system | left(18)) + ([[.iops, 9], [.mb_s, 8], [.to_raw.rate, 8], [.to_linear.rate, 8], [.iops_spread, 7], [.p50_us, 9], [.p99_us, 9],
    [.cpu_ns_per_io / 1000, 8], [.to_linear.cpu, 8],
    [.origin.read_bytes_per_byte, 8], [.origin.written_bytes_per_byte, 8],
    [.store.read_bytes_per_byte, 8], [.store.written_bytes_per_byte, 8], [.store.writes_per_io, 8], [.memory_bytes_per_4k, 7]]
    | map(. as [$value, $width] | $value | short | right($width)) | add);

def cut_head:
  ("system" | left(18)) + ([["load", 6], ["origins", 9], ["take", 9], ["remove", 9], ["frozen", 9], ["max", 9], ["gates us", 9], ["max", 9]]
    | map(. as [$text, $width] | $text | right($width)) | add);
def cut_line:
  (.system | left(18)) + (.load | right(6)) + ([[.origins, 9], [.take_ms.median, 9], [.remove_ms.median, 9], [.frozen_ms.median, 9],
    [.frozen_ms.max, 9], [.gates_us.median, 9], [.gates_us.max, 9]]
    | map(. as [$value, $width] | $value | short | right($width)) | add);

. as $all
| (.meta | to_entries[] | "\(.key): \(.value)"),
"",
"rate and CPU are per request of the workload, o. and s. bytes read and written on the",
"origin and the store per byte of the workload, s.w.IOs writes to the store per request,",
"mem bytes of kernel memory per 4 KiB preserved, spread that of the rounds' rates.",
($order.devices[] as $device | $order.workloads[] as $workload
  | [$all.results[] | select(.device == $device and .workload == $workload)]
  | select(length > 0)
  | "", "\($device) (\($about.devices[$device])): \($workload)", "  \($about.workloads[$workload])", result_head,
    (sort_by(.system | place($order.systems))[] | result_line)),
($order.workloads[] as $workload
  | [$all.cuts[] | select(.workload == $workload)]
  | select(length > 0)
  | "", "\($workload): \($about.workloads[$workload]); milliseconds, gates in microseconds", cut_head,
    (sort_by([(.system | place($order.systems)), .load, .origins])[] | cut_line))

# SPDX-License-Identifier: GPL-2.0-or-later
# The rounds of all measurements (input: an array of objects with device, system,
# workload, round and figures) as medians, and as ratios to the bare device and to
# dm-linear in the same run.
#
#   jq --slurpfile cuts F --argjson meta OBJECT -f summary.jq records.json

def median: sort | if length % 2 == 1 then .[(length - 1) / 2] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def spread: if length < 2 or median == 0 then 0 else (max - min) / median end;

# Medians of all numbers of objects of one shape.
def medians:
  . as $all
  | .[0]
  | with_entries(.key as $key
      | if (.value | type) == "number" then .value = ([$all[][$key]] | median)
        elif (.value | type) == "object" then .value = ([$all[][$key]] | medians)
        else . end);

# The bigger the better: requests of one size in each workload.
def ratios($of; $all):
  . as $own
  | first($all[] | select(.device == $own.device and .workload == $own.workload and .system == $of))
  | {rate: ($own.iops / .iops), p50: ($own.p50_us / .p50_us), p99: ($own.p99_us / .p99_us),
     cpu: ($own.cpu_ns_per_io / .cpu_ns_per_io)};

(group_by([.device, .workload, .system])
  | map(. as $rounds | (medians | del(.round)) + {rounds: length, iops_spread: ([$rounds[].iops] | spread)})) as $results
| {
    meta: $meta,
    results: [$results[] | . as $own | . + {
      to_raw: ([ratios("raw"; $results)][0]),
      to_linear: ([ratios("dm-linear"; $results)][0])
    }],
    cuts: [$cuts | group_by([.system, .workload, .load, .origins])[]
      | . as $all
      | .[0] | {system, workload, origins, load, cuts: ($all | length)}
        + ([["take_ns", "take_ms", 1e6], ["remove_ns", "remove_ms", 1e6], ["frozen_ns", "frozen_ms", 1e6], ["gates_ns", "gates_us", 1e3]]
          | map(. as [$from, $to, $unit] | [$all[][$from] | select(. != null)] | select(length > 0)
              | {($to): {median: (median / $unit), max: (max / $unit)}})
          | add)]
  }

# SPDX-License-Identifier: GPL-2.0-or-later
# A table for gnuplot: a line for each workload, a column for each system, the
# rate of each as part of the bare device's.
#
#   jq -r --arg device NAME --argjson order OBJECT -f plot.jq results.json

[.results[] | select(.device == $device)] as $all
| ($order.systems - ["raw"] | map(select(. as $system | any($all[]; .system == $system)))) as $systems
| ($order.workloads | map(select(. as $workload | any($all[]; .workload == $workload and .to_raw)))) as $workloads
| (["workload"] + $systems),
  ($workloads[] as $workload
    | [$workload] + [$systems[] as $system
        | first(($all[] | select(.workload == $workload and .system == $system) | .to_raw.rate // empty), "?")])
| @tsv

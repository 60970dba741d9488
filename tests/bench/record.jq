# SPDX-License-Identifier: GPL-2.0-or-later
# One measurement as an object, out of what fio said (input) and what the kernel
# had counted before and after it.
#
#   jq -f record.jq --rawfile before F --rawfile after F --rawfile notes F
#      --argjson overhead N --argjson cpus N fio.json

def notes: $notes | [split("\n")[] | capture("^(?<key>[^=]+)=(?<value>.*)$")] | from_entries;

# Nanoseconds, of all CPUs together.
def now: capture("now at (?<n>[0-9]+) nsecs").n | tonumber;
def idle: [scan("\\.(?:idle|iowait)_sleeptime *: *([0-9]+)")[0] | tonumber] | add // 0;
def busy: now * $cpus - idle;

# What /proc/diskstats says of a device.
def disk($name):
  [split("\n")[] | [splits(" +") | select(. != "")] | select(.[2] == $name)][0]
  | {reads: .[3], read_bytes: .[5], writes: .[7], written_bytes: .[9]}
  | map_values(tonumber)
  | .read_bytes *= 512 | .written_bytes *= 512;
def cost($name; $ios; $bytes):
  ($after | disk($name)) as $a | ($before | disk($name)) as $b
  | {
      reads_per_io: (($a.reads - $b.reads) / $ios),
      read_bytes_per_byte: (($a.read_bytes - $b.read_bytes) / $bytes),
      writes_per_io: (($a.writes - $b.writes) / $ios),
      written_bytes_per_byte: (($a.written_bytes - $b.written_bytes) / $bytes)
    };

.jobs[0] as $job
| ($job.read.total_ios + $job.write.total_ios) as $ios
| ($job.read.io_bytes + $job.write.io_bytes) as $bytes
# what a user waits for: the fsync, where there is one
| ([$job.sync, $job.write, $job.read][] | select(.lat_ns.percentile)) as $waits
| first($waits) as $wait
| (notes.disks | split(" ")) as [$origin, $store]
| {
    ios: $ios,
    bytes: $bytes,
    iops: ($job.read.iops + $job.write.iops),
    mb_s: (($job.read.bw_bytes + $job.write.bw_bytes) / 1e6),
    mean_us: ($wait.lat_ns.mean / 1000),
    p50_us: ($wait.lat_ns.percentile["50.000000"] / 1000),
    p99_us: ($wait.lat_ns.percentile["99.000000"] / 1000),
    cpu_ns_per_io: ((($after | busy) - ($before | busy) - $overhead) / $ios),
    cpu_ns_per_byte: ((($after | busy) - ($before | busy) - $overhead) / $bytes),
    origin: cost($origin; $ios; $bytes),
    store: cost($store; $ios; $bytes)
  }
  + (if notes.memory_before then
      {memory_bytes_per_4k: (((notes.memory_after | tonumber) - (notes.memory_before | tonumber)) / $bytes * 4096)}
     else {} end)

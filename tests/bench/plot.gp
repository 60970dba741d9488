# SPDX-License-Identifier: GPL-2.0-or-later
# Rates as parts of the bare device's, a panel for each device.
#
#   gnuplot -e 'output="FILE.svg"; devices="ssd disk"; columns="5 7"; directory="DIR"' plot.gp
#
# DIR/DEVICE.tsv are what plot.jq makes, columns how many they have.

panels = words(devices)
set terminal svg size 1500, 420 * panels dynamic background rgb "white" font "sans,13"
set output output
set datafile separator "\t"
set datafile missing "?"
set multiplot layout panels, 1
set style data histograms
set style histogram clustered gap 2
set style fill solid 0.9 noborder
set boxwidth 1
set key outside right top vertical noenhanced
set grid ytics linecolor rgb "#dddddd"
set xtics nomirror scale 0 noenhanced rotate by -15
set ytics nomirror
set yrange [0:1.1]
set ylabel "rate, 1 is the bare device"
do for [panel = 1:panels] {
	device = word(devices, panel)
	file = directory . "/" . device . ".tsv"
	set title device noenhanced
	plot for [column = 2:int(word(columns, panel))] file using column:xtic(1) title columnheader(column)
}
unset multiplot

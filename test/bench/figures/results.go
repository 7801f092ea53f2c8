package main

import (
	"slices"
	"time"
)

// sample is one measurement of one load.
type sample struct {
	// Rate is in requests a second; P50 and P99 are in seconds.
	Rate, P50, P99 float64
	// LoadCPU is what the load generator's own requests cost it, in seconds of
	// CPU for each; ServerCPU likewise of the server, and LaterCPU what it took
	// after the last answer until all was sealed.
	LoadCPU, ServerCPU, LaterCPU float64
	// Sealing is how long the last record waited to be sealed, in seconds.
	Sealing float64
	// Requests is how many were made.
	Requests int
}

func rate(s sample) float64 { return s.Rate }

// sustained is the rate at which requests can come for ever: the time that the
// store takes to have them all counts too.
func sustained(s sample) float64 {
	n := float64(s.Requests)
	return n / (n/s.Rate + s.Sealing)
}

func serverCPU(s sample) float64 { return s.ServerCPU }

func p50(s sample) float64 { return s.P50 }
func p99(s sample) float64 { return s.P99 }

// results are the samples by load, in the order of the rounds.
type results struct {
	samples    map[load][]sample
	bundleLoad map[string]float64 // seconds, by server
	bundleHeap map[string]float64 // bytes, likewise
	replayed   float64            // records a second
	tokens     map[string]float64 // microseconds, by figure
	scans      map[string]float64 // by figure
	redacted   float64            // microseconds
	stops      stops
	cutStops   stops // of a server that listens to nothing
}

func (r *results) median(l load, of func(sample) float64) float64 {
	values := make([]float64, len(r.samples[l]))
	for i, s := range r.samples[l] {
		values[i] = of(s)
	}
	return median(values)
}

// over is the median of the rounds' ratios of a throughput to the rate of another
// load: what disturbs a whole round disturbs both alike.
func (r *results) over(a, b load, of func(sample) float64) float64 {
	ratios := make([]float64, len(r.samples[a]))
	for i := range ratios {
		ratios[i] = of(r.samples[a][i]) / r.samples[b][i].Rate
	}
	return median(ratios)
}

// ratio is the same of any two values of one kind.
func (r *results) ratio(a, b load, of func(sample) float64) float64 {
	ratios := make([]float64, len(r.samples[a]))
	for i := range ratios {
		ratios[i] = of(r.samples[a][i]) / of(r.samples[b][i])
	}
	return median(ratios)
}

// median of no values is 0.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}

// percentile is the value that a share of the sorted values do not exceed.
func percentile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

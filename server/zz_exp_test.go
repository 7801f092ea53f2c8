package server

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

func TestExp(t *testing.T) {
	for _, ff := range []bool{true, false} {
		opts := []protovalidate.ValidatorOption{protovalidate.WithMessages(validated()...)}
		if ff {
			opts = append(opts, protovalidate.WithFailFast())
		}
		v, err := protovalidate.New(opts...)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1000, 20000, 200000} {
			raw := make([]byte, 0)
			for range n {
				raw = append(raw, 0x8a, 0x01, 0)
			}
			var m0, m1, m2 runtime.MemStats
			runtime.ReadMemStats(&m0)
			st := time.Now()
			var r writv1.DecideRequest
			if err := proto.Unmarshal(raw, &r); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&m1)
			d1 := time.Since(st)
			err := v.Validate(&r)
			runtime.ReadMemStats(&m2)
			fmt.Printf("ff=%v n=%d wire=%d unmarshal=%dKB %v validate=%dKB %v err=%d\n", ff, n, len(raw), (m1.TotalAlloc-m0.TotalAlloc)>>10, d1, (m2.TotalAlloc-m1.TotalAlloc)>>10, time.Since(st)-d1, len(err.Error()))
		}
		for _, n := range []int{1000, 20000, 200000} {
			raw := make([]byte, 0)
			for range n {
				raw = append(raw, 0x0a, 0)
			}
			var m0, m1, m2 runtime.MemStats
			runtime.ReadMemStats(&m0)
			st := time.Now()
			var r writv1.DecideBatchRequest
			if err := proto.Unmarshal(raw, &r); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&m1)
			d1 := time.Since(st)
			err := v.Validate(&r)
			runtime.ReadMemStats(&m2)
			fmt.Printf("batch ff=%v n=%d wire=%d unmarshal=%dKB %v validate=%dKB %v err=%.200s\n", ff, n, len(raw), (m1.TotalAlloc-m0.TotalAlloc)>>10, d1, (m2.TotalAlloc-m1.TotalAlloc)>>10, time.Since(st)-d1, err)
		}
	}
	var r *writv1.DecideRequest
	v, _ := protovalidate.New()
	fmt.Println(v.Validate(r))
}

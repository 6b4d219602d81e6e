package resource_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/resource"
)

// An agent's total with holes in its ports, and a task's part of it.
func benchmarkSums(b *testing.B) (total, task resource.Resources) {
	var ports []string
	for i := range 25 {
		ports = append(ports, fmt.Sprintf("%d-%d", 31000+40*i, 31038+40*i))
	}
	total = parse(b, "cpus:32;mem:65536;disk:1000000;ports:["+strings.Join(ports, ",")+"];cpus(prod):4;mem(prod):4096")
	return total, parse(b, "cpus:0.5;mem:256;disk:10;ports:[31200-31201]")
}

func BenchmarkContains(b *testing.B) {
	total, task := benchmarkSums(b)
	b.ReportAllocs()
	for b.Loop() {
		if !total.Contains(task) {
			b.Fatal("does not contain")
		}
	}
}

func BenchmarkSubtract(b *testing.B) {
	total, task := benchmarkSums(b)
	b.ReportAllocs()
	for b.Loop() {
		_ = total.Subtract(task)
	}
}

func BenchmarkAdd(b *testing.B) {
	total, task := benchmarkSums(b)
	less := total.Subtract(task)
	b.ReportAllocs()
	for b.Loop() {
		_ = less.Add(task)
	}
}

func BenchmarkQuantities(b *testing.B) {
	total, task := benchmarkSums(b)
	have, want := total.Quantities(), task.Quantities()
	b.Run("of", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = total.Quantities()
		}
	})
	b.Run("loop", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			q := have
			if q.Contains(&want) {
				q = q.Subtract(want)
			}
			_ = q.Share(&have)
		}
	})
}

package hither

import "testing"

// src/client/benches/languages.rs writes the table, and compares these with the reader in Rust.

func benchmark(b *testing.B, look func(*Table, *Entry) Answer) {
	table, err := Open("")
	if err != nil {
		b.Skip(err)
	}
	var entry Entry
	b.ReportAllocs()
	for n := 0; n < b.N; n++ {
		if look(table, &entry) != Fresh {
			b.Skip("another table")
		}
	}
}

const benchName = "www.host00007.example.com"

func BenchmarkName(b *testing.B) {
	name, _ := ParseName(benchName)
	benchmark(b, func(table *Table, e *Entry) Answer { return table.Lookup(name, Both, e) })
}

func BenchmarkText(b *testing.B) {
	benchmark(b, func(table *Table, e *Entry) Answer { return table.LookupText(benchName, Both, e) })
}

func BenchmarkAddresses(b *testing.B) {
	name, _ := ParseName(benchName)
	benchmark(b, func(table *Table, e *Entry) Answer {
		answer := table.Lookup(name, Both, e)
		if len(e.Ordered(Both)) != 8 {
			b.Fatal("other addresses")
		}
		return answer
	})
}

package main

import (
	"strings"
	"testing"
)

func TestSummarise(t *testing.T) {
	t.Parallel()
	const pkg = `"Package":"github.com/tributary-network/tributary/ledger"`
	tests := []struct {
		name  string
		input string
		ok    bool
		want  []string
	}{
		{
			name: "passed and skipped",
			input: `{"Action":"pass",` + pkg + `,"Test":"TestA"}
{"Action":"output",` + pkg + `,"Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output",` + pkg + `,"Test":"TestB","Output":"    b_test.go:7: needs a loop device\n"}
{"Action":"skip",` + pkg + `,"Test":"TestB"}
{"Action":"pass",` + pkg + `,"Elapsed":1.25}`,
			ok: true,
			want: []string{
				"ok   ledger 1.2s, 1 tests\n", "skipped: ledger TestB: b_test.go:7: needs a loop device\n",
				"test: 1 packages, 0 failed; 1 tests passed, 0 failed, 1 skipped",
			},
		},
		{
			name: "failed test shows its output",
			input: `{"Action":"output",` + pkg + `,"Test":"TestA","Output":"a_test.go:3: got 1, want 2\n"}
{"Action":"fail",` + pkg + `,"Test":"TestA"}
{"Action":"fail",` + pkg + `,"Elapsed":0.1}`,
			want: []string{"got 1, want 2", "FAIL ledger", "1 packages, 1 failed; 0 tests passed, 1 failed"},
		},
		{
			name: "panic fails the package with the test open",
			input: `{"Action":"output",` + pkg + `,"Test":"TestA","Output":"panic: index out of range\n"}
{"Action":"fail",` + pkg + `,"Elapsed":0.1}`,
			want: []string{"panic: index out of range", "1 packages, 1 failed"},
		},
		{
			name: "does not compile",
			input: `{"ImportPath":"x","Action":"build-output","Output":"a.go:1:1: syntax error\n"}
{"Action":"fail",` + pkg + `,"Elapsed":0,"FailedBuild":"x"}`,
			want: []string{"syntax error", "1 packages, 1 failed"},
		},
		{name: "only packages without tests", input: `{"Action":"skip",` + pkg + `}`, want: []string{"no package ran"}},
		{name: "go could not start", input: "go: errors parsing go.mod\n", want: []string{"errors parsing go.mod", "no package ran"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			ok, err := summarise(strings.NewReader(tt.input), &out)
			if err != nil {
				t.Fatal(err)
			}
			if ok != tt.ok {
				t.Errorf("ok = %v, want %v", ok, tt.ok)
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("summary does not contain %q:\n%s", want, out.String())
				}
			}
		})
	}
}

// Package deploy_test checks what cannot be tried without Docker: that the
// containers of the testnet may do no more than they need.
package deploy_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
)

const validators = 4

func project(t *testing.T, more ...string) *types.Project {
	t.Helper()
	files := []types.ConfigFile{{Filename: "docker-compose.yml"}}
	for _, name := range more {
		files = append(files, types.ConfigFile{Filename: name})
	}
	p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{WorkingDir: ".", ConfigFiles: files}, func(o *loader.Options) { o.SetProjectName("tributary-testnet", true) })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestServices(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		files []string // besides docker-compose.yml
		nodes []string // besides the validators
		said  string   // to the one that writes keys
	}{
		{"validators", nil, nil, "testnet files --dir /network --validators 4 --base-port 9190"},
		{
			"with a full node",
			[]string{"docker-compose.fullnode.yml"},
			[]string{"fullnode1"},
			"testnet files --dir /network --validators 4 --full-nodes 1 --base-port 9190",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			services(t, project(t, test.files...), test.nodes, test.said)
		})
	}
}

func services(t *testing.T, p *types.Project, more []string, said string) {
	t.Helper()
	want := slices.Concat([]string{"files"}, more)
	for i := 1; i <= validators; i++ {
		want = append(want, fmt.Sprintf("validator%d", i))
	}
	slices.Sort(want)
	names := p.ServiceNames()
	slices.Sort(names)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Fatalf("services (-want +got):\n%s", diff)
	}
	for _, s := range p.Services {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			confined(t, s)
			if s.Name == "files" {
				if s.NetworkMode != "none" || len(s.Ports) > 0 || s.Restart != "" {
					t.Errorf("the one that writes keys has a network or is restarted: %q %v %q", s.NetworkMode, s.Ports, s.Restart)
				}
				if got := strings.Join(s.Command, " "); got != said {
					t.Errorf("it runs %q, want %q", got, said)
				}
				if len(s.Volumes) != len(want) {
					t.Errorf("volumes %+v, want its own and one of each node", s.Volumes)
				}
				return
			}
			published(t, s)
			alone(t, s)
			if s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) != time.Minute {
				t.Errorf("stop grace period %v, want 1m: stores must close in good order", s.StopGracePeriod)
			}
			if got := s.DependsOn["files"].Condition; got != types.ServiceConditionCompletedSuccessfully {
				t.Errorf("starts when files is %q", got)
			}
			if s.Restart != types.RestartPolicyUnlessStopped {
				t.Errorf("restart %q: a killed validator must come back by itself", s.Restart)
			}
		})
	}
}

// confined checks what every container must not be able to do.
func confined(t *testing.T, s types.ServiceConfig) {
	t.Helper()
	if s.User != "65532:65532" || !s.ReadOnly || s.Privileged {
		t.Errorf("user %q, read-only %v, privileged %v", s.User, s.ReadOnly, s.Privileged)
	}
	if diff := cmp.Diff([]string{"ALL"}, s.CapDrop); diff != "" || len(s.CapAdd) > 0 {
		t.Errorf("capabilities dropped %v, added %v", s.CapDrop, s.CapAdd)
	}
	if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
		t.Errorf("security options %v", s.SecurityOpt)
	}
	if s.MemLimit != 1<<30 || s.PidsLimit != 512 || s.Ulimits["nofile"] == nil || s.Ulimits["nofile"].Single != 8192 {
		t.Errorf("memory %d, pids %d, files %v", s.MemLimit, s.PidsLimit, s.Ulimits["nofile"])
	}
	if s.Logging == nil || s.Logging.Options["max-size"] == "" || s.Logging.Options["max-file"] == "" {
		t.Errorf("the log grows without bound: %+v", s.Logging)
	}
	for _, v := range s.Volumes {
		if v.Type != types.VolumeTypeVolume {
			t.Errorf("%s is a %s: containers and the host share no files", v.Target, v.Type)
		}
	}
}

// published checks the ports that `testnet files --base-port 9190` expects.
func published(t *testing.T, s types.ServiceConfig) {
	t.Helper()
	n, isValidator := strings.CutPrefix(s.Name, "validator")
	if !isValidator {
		n = strconv.Itoa(validators + 1)
	}
	got := map[uint32]string{}
	for _, p := range s.Ports {
		if p.HostIP != "127.0.0.1" {
			t.Errorf("port %s is published on %q", p.Published, p.HostIP)
		}
		got[p.Target] = p.Published
	}
	if diff := cmp.Diff(map[uint32]string{9090: "9" + n + "91", 8080: "9" + n + "92"}, got); diff != "" {
		t.Errorf("ports (-want +got):\n%s", diff)
	}
}

// alone checks that a validator sees its own keys only.
func alone(t *testing.T, s types.ServiceConfig) {
	t.Helper()
	if len(s.Volumes) != 1 || s.Volumes[0].Source != s.Name || s.Volumes[0].Target != "/home/tributary" {
		t.Errorf("volumes %+v, want its own home", s.Volumes)
	}
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"FROM scratch",
		"USER 65532:65532",
		"STOPSIGNAL SIGTERM",
		`ENTRYPOINT \["/tributary"\]`,
		`HEALTHCHECK .*CMD \["/tributary", "health", "--ready"\]`,
	} {
		if n := len(regexp.MustCompile("(?m)^"+line+"$").FindAll(data, -1)); n != 1 {
			t.Errorf("Dockerfile has %d lines %q, want one", n, line)
		}
	}
	if regexp.MustCompile(`(?mi)^(RUN|ADD)\b`).Match(data) {
		t.Error("Dockerfile runs or downloads something; the image is the binary and nothing else")
	}
}

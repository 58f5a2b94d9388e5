package relay

import (
	"cmp"
	"slices"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/chain/anchor"
	"github.com/tributary-network/tributary/chain/registry"
	"github.com/tributary-network/tributary/chain/settlement"
	"github.com/tributary-network/tributary/consensus/bls"
	"github.com/tributary-network/tributary/consensus/cert"
	"github.com/tributary-network/tributary/consensus/committee"
	"github.com/tributary-network/tributary/shard"
)

// Bounds of the watch for conflicts.
const (
	// keptRuns is how many runs that main took of each shard are compared with later ones and
	// with what this node has certified, and likewise of those that it refused; of a shard
	// that does not run here it is the last one. keptShards is of how many shards.
	keptRuns   = 8
	keptShards = 4_096
	// maxCrimes is how many conflicts wait at most, and maxTold how many are remembered
	// as told.
	maxCrimes = 16
	maxTold   = 1_024
	// watchStep is how many blocks of main are looked at in a round, and watchBack how many
	// a relay that begins, or was away, looks back.
	watchStep = 32
	watchBack = 256
	// lateCertificate is for how many blocks of a shard a certificate is waited for.
	lateCertificate = 16
)

// Posts are what a block of main was sent about heights of shards, whether it took them or
// not.
type Posts struct {
	Runs      []Posted
	Conflicts []anchor.Conflict
}

// Posted is a run that a block of main took or refused.
type Posted struct {
	Run   cert.Run
	Taken bool
}

// crime is a height of a generation of a shard with two versions.
type crime struct {
	shard      shard.ID
	generation uint32
	height     uint64
}

// watch looks for two versions of one height of a shard, each certified: in what main was
// sent, and between that and what this node has certified itself. One goroutine owns it.
type watch struct {
	next   uint64 // height of main that is looked at next
	runs   map[shard.ID]*sightings
	crimes map[crime]*suspicion
	told   map[crime]struct{} // main knows
}

// sightings are the last runs of a shard that main was sent. Who sends others than are
// signed has them refused, so these do not take the place of those that were taken.
type sightings struct{ taken, refused []sighting }

// sighting is a run that main was sent.
type sighting struct {
	run     cert.Run
	checked uint64 // up to this height it was compared with what this node has certified
}

// suspicion is a conflict that is to be told.
type suspicion struct {
	task

	conflict anchor.Conflict
	signed   int // members who signed both versions; 0 as long as nobody has looked
}

func newWatch() *watch {
	return &watch{runs: make(map[shard.ID]*sightings), crimes: make(map[crime]*suspicion), told: make(map[crime]struct{})}
}

// conflict tells main of conflicts. Everybody may, so those who serve the shard do it first.
func (l *mainLane) conflict(s *scale, reports []report) error {
	w := l.watch
	w.read(l.r, s.height, func(id shard.ID) bool { _, ok := s.rows[id]; return ok })
	for i := range reports {
		w.compare(&reports[i])
	}
	for _, at := range w.list() {
		one := w.crimes[at]
		if one.signed == 0 {
			if one.signed = s.judge(l.r, &one.conflict); one.signed == 0 {
				delete(w.crimes, at) // somebody sent main what nobody signed
				continue
			}
		}
		if !l.ready(s, &one.task, at.height+1, l.turn(s, at.shard), patience{}) {
			continue
		}
		if err := l.draft(s, chain.KindAnchorConflict, one.conflict.Encode(), 1, map[*task]uint64{&one.task: at.height + 1}); err != nil {
			return err
		}
	}
	return nil
}

// read looks at the blocks of main up to a height, some at a time. here says which shards
// run here.
func (w *watch) read(r *Relay, height uint64, here func(shard.ID) bool) {
	if height > watchBack {
		w.next = max(w.next, height-watchBack)
	}
	w.next = max(w.next, 1)
	for range watchStep {
		if w.next > height {
			return
		}
		posts, ok, err := r.cfg.Main.Posts(w.next)
		if err != nil {
			r.counters.Failed.Add(1)
			return
		}
		w.next++
		if !ok {
			continue
		}
		for i := range posts.Conflicts {
			c := &posts.Conflicts[i]
			w.heard(crime{c.Shard(), c.A.Generation, c.Height})
		}
		for i := range posts.Runs {
			if p := &posts.Runs[i]; p.Run.Network == r.cfg.Network && len(p.Run.Heads) > 0 {
				w.see(p, here(p.Run.Chain))
			}
		}
	}
}

// see compares a run with those that were seen before.
func (w *watch) see(p *Posted, here bool) {
	if len(w.runs) >= keptShards {
		clear(w.runs)
	}
	run, seen := &p.Run, w.runs[p.Run.Chain]
	if seen == nil {
		seen = new(sightings)
		w.runs[run.Chain] = seen
	}
	with, keep := slices.Clone(seen.taken), 1
	if here {
		keep = keptRuns
	}
	if p.Taken {
		with = append(with, seen.refused...)
	}
	for i := range with {
		w.match(&with[i].run, run)
	}
	list := &seen.refused
	if p.Taken {
		list = &seen.taken
	}
	*list = append(*list, sighting{run: *run, checked: run.First - 1})
	*list = slices.Clone((*list)[max(0, len(*list)-keep):])
}

// match looks for a height of which two runs have different versions.
func (w *watch) match(a, b *cert.Run) {
	if a.Generation != b.Generation {
		return
	}
	for h := max(a.First, b.First); h <= min(a.Last(), b.Last()); h++ {
		if p, q := versionOf(a, h), versionOf(b, h); p != q {
			w.suspect(h, a, b)
			return
		}
	}
}

// versionOf returns what a run says of a height but for the round: a block may be
// certified in several.
func versionOf(run *cert.Run, height uint64) cert.Checkpoint {
	p := run.Checkpoint(int(height - run.First)) //nolint:gosec // of a run of at most cert.MaxRun heights
	p.Round = 0
	return p
}

// compare looks for what this node has certified of a shard otherwise than main was sent.
func (w *watch) compare(one *report) {
	seen := w.runs[one.id]
	if seen == nil {
		return
	}
	for _, list := range [][]sighting{seen.taken, seen.refused} {
		for i := range list {
			w.certified(one, &list[i])
		}
	}
}

func (w *watch) certified(one *report, s *sighting) {
	run := &s.run
	for h := s.checked + 1; h <= min(run.Last(), one.head); h++ {
		c, err := one.chain.Certificate(h)
		if err != nil && h+lateCertificate > one.head {
			return // it may come
		}
		s.checked = h
		if err != nil {
			continue
		}
		own := c.Checkpoint
		own.Round = 0
		if own.Generation != run.Generation || own == versionOf(run, h) {
			continue
		}
		if other, err := cert.Join([]cert.Certificate{c}); err == nil {
			w.suspect(h, run, &other)
		}
	}
}

// suspect notes a conflict, of which nobody has looked at the signatures yet.
func (w *watch) suspect(height uint64, a, b *cert.Run) {
	at := crime{a.Chain, a.Generation, height}
	_, told := w.told[at]
	if told || w.crimes[at] != nil || len(w.crimes) >= maxCrimes {
		return
	}
	w.crimes[at] = &suspicion{conflict: anchor.Conflict{Height: height, A: *a, B: *b}}
}

// heard notes that main was told of a conflict, which punishes some of the members.
func (w *watch) heard(at crime) {
	if one := w.crimes[at]; one != nil && one.signed > settlement.MaxPunished {
		one.signed -= settlement.MaxPunished
		one.task = task{} // the others are punished when it is told of again
		return
	}
	if len(w.told) >= maxTold {
		clear(w.told)
	}
	w.told[at] = struct{}{}
	delete(w.crimes, at)
}

// list returns the conflicts that wait, by shard and height.
func (w *watch) list() (list []crime) {
	for at := range w.crimes {
		list = append(list, at)
	}
	slices.SortFunc(list, func(a, b crime) int {
		return cmp.Or(cmp.Compare(a.shard, b.shard), cmp.Compare(a.generation, b.generation), cmp.Compare(a.height, b.height))
	})
	return list
}

// judge returns how many members main would find to have signed both versions, 0 if they
// are not both certified. That takes some milliseconds, once for each conflict.
func (s *scale) judge(r *Relay, in *anchor.Conflict) int {
	rules := s.anchors
	c := anchor.Context{
		State: chain.NewOverlay(s.v), Rules: &rules, Network: r.cfg.Network, Height: s.height + 1, Epoch: s.epoch,
		MaxWeight: s.params.MaxAnchorWeight(),
		Committees: func(id shard.ID, epoch uint64, generation uint32) (*committee.Committee, []*bls.Key, bool) {
			a, ok := registry.ReadServing(s.v, epoch, id, generation)
			if !ok {
				return nil, nil, false
			}
			keys, err := a.Committee.Keys()
			return &a.Committee, keys, err == nil
		},
	}
	verdict, err := c.Judge(in)
	if err != nil {
		return 0
	}
	return len(verdict.Signed)
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/shmkit/shmkit/arena"
	"github.com/shmkit/shmkit/hashmap"
	"github.com/shmkit/shmkit/value"
)

// The other process is this program again, told so by an environment variable.
// It reads jobs, says when it is ready for one, waits for the word, works, and
// writes what an operation cost it.
const peerVariable = "SHMKIT_BENCH_PEER"

func serving() bool { return os.Getenv(peerVariable) != "" }

// remote says what the other process does.
type remote struct{ kind, arena, object string }

// job is that for one round.
type job struct {
	remote
	n      int
	insert bool
	round  time.Duration
}

// peer is the other process, seen from the first.
type peer struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startPeer() (*peer, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &peer{cmd: exec.Command(exe)}
	p.cmd.Env = append(os.Environ(), peerVariable+"=1")
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	return p, p.cmd.Start()
}

func (p *peer) send(j job) {
	fmt.Fprintln(p.in, j.kind, j.arena, j.object, j.n, j.insert, int64(j.round))
}

func (p *peer) ready() error {
	var word string
	if _, err := fmt.Fscanln(p.out, &word); err != nil || word != "ready" {
		return fmt.Errorf("the other process is not ready: %q, %w", word, err)
	}
	return nil
}

func (p *peer) begin() { fmt.Fprintln(p.in, "go") }

func (p *peer) result() (ns float64, err error) {
	if _, err = fmt.Fscanln(p.out, &ns); err != nil {
		err = fmt.Errorf("the other process gave no result: %w", err)
	}
	return ns, err
}

func (p *peer) stop() {
	p.in.Close()
	p.cmd.Wait()
}

// leave has the other process leave the arena it is in, with all that it has there
// given back.
func (p *peer) leave() error {
	p.send(job{remote: remote{leaving, "-", "-"}})
	return p.ready()
}

const leaving = "leave"

// visitor is the other process. It stays attached from round to round: the pages of
// a new mapping are mapped one by one as they are touched, which costs more than all
// that is to be measured. So does it keep its blocks.
type visitor struct {
	a      *arena.Arena
	in     string // name of the arena, empty: none
	blocks *blocks
}

// serve is the other process.
func serve(in io.Reader, out io.Writer) error {
	jobs := bufio.NewReader(in)
	var v visitor
	for {
		var j job
		_, err := fmt.Fscanln(jobs, &j.kind, &j.arena, &j.object, &j.n, &j.insert, &j.round)
		if errors.Is(err, io.EOF) {
			return v.leave()
		}
		if err == nil {
			err = v.do(&j, jobs, out)
		}
		if err != nil {
			return fmt.Errorf("other process: %w", errors.Join(err, v.leave()))
		}
	}
}

func (v *visitor) do(j *job, in io.Reader, out io.Writer) error {
	if j.kind == leaving {
		err := v.leave()
		fmt.Fprintln(out, "ready")
		return err
	}
	if err := v.enter(j.arena); err != nil {
		return err
	}
	pass, end, err := v.open(j)
	if err != nil {
		return err
	}
	return j.do(pass, end, in, out)
}

func (v *visitor) enter(name string) (err error) {
	if v.in == name {
		return nil
	}
	if err := v.leave(); err != nil {
		return err
	}
	if v.a, err = arena.Open(name, nil); err == nil {
		v.in = name
	}
	return err
}

func (v *visitor) leave() error {
	if v.in == "" {
		return nil
	}
	var err error
	if v.blocks != nil {
		err = v.blocks.end()
	}
	err = errors.Join(err, v.a.Close())
	*v = visitor{}
	return err
}

// open opens the object and returns what is done with it, and at the end of the round.
func (v *visitor) open(j *job) (p pass, end func() error, err error) {
	if j.object != "slab" {
		return j.open(v.a)
	}
	if v.blocks == nil {
		if v.blocks, err = newBlocks(v.a, 1); err != nil {
			return nil, nil, err
		}
	}
	return v.blocks.pass, func() error { return nil }, nil
}

// do warms up what can be, and works when told.
func (j *job) do(pass pass, end func() error, in io.Reader, out io.Writer) error {
	if !j.insert {
		forTime(pass, 1, sequence(j.n, 1), j.round/2)
	}
	fmt.Fprintln(out, "ready")
	var word string
	if _, err := fmt.Fscanln(in, &word); err != nil {
		return err
	}
	var ns float64
	if j.insert {
		ns, _ = insertAll(pass, 1, half(j.n, 1, true))
	} else {
		ns, _ = forTime(pass, 1, sequence(j.n, 1), j.round)
	}
	if err := end(); err != nil { // before the result: whoever reads it may remove the object
		return err
	}
	_, err := fmt.Fprintln(out, ns)
	return err
}

func (j *job) open(a *arena.Arena) (pass, func() error, error) {
	keys := lookupKeys(j.n)
	switch j.object {
	case "typed":
		m, err := hashmap.Open[string, blob](a, j.object, nil)
		t := &typedMap{keys, m}
		return map[string]pass{
			"load": t.load, "loadInto": t.loadInto, "fetch": t.fetch, "insert": t.insert, "insertAll": t.insertAll,
			"50/50": t.mixed(2), "95/5": t.mixed(20), "churn": t.churn,
		}[j.kind], m.Close, err
	case "bytes":
		m, err := hashmap.Open[string, []byte](a, j.object, nil)
		b := &bytesMap{keys, m}
		return map[string]pass{
			"load": b.load, "insert": b.insert, "50/50": b.mixed(2), "95/5": b.mixed(20), "churn": b.churn,
		}[j.kind], m.Close, err
	case "counter":
		c, err := value.OpenCounter(a, j.object)
		return adding(c), c.Close, err
	case "value":
		v, err := value.Open[uint64](a, j.object)
		return loading(v), v.Close, err
	}
	return nil, nil, fmt.Errorf("unknown object %q", j.object)
}

/* grow.pml: growth by splitting segments.  dirw = {block of the directory, D} leads to 2^D words, a word to a segment
 * {version, slot of key 0, slot of key 1, count}, a slot to an entry {key, value}; all are blocks of one pool.  Two workers
 * (masks A0, A1: what each may do) store, delete, double the directory, split a segment; KILLS of them are killed at any
 * store, also while they repair, and come back as a new process that recovers its slot; whoever meets a lock of the dead
 * settles what it names.  F takes any free block that no record names and scribbles on it; R reads once.  Key 0 is always
 * there.  Locks: STRIPES in the root block, by the high bits of the hash, and below them one for the directory: only its
 * holder stores directory words, dirw and rootver.  A stripe's words are 2^D/STRIPES, split at the first level only.
 * A split needs two blocks, and a record that names them: op's new and ext; the second was reserved under a record of its
 * own, res.  Default: S -> S0, S1 and S is freed.  KEEP: S stays as the lower half, one new segment.
 * Promises: a read returns what was current while it ran; nobody stores into a block that is not his, or frees one twice; at
 * the end each key is where it belongs and nowhere else, counts are right, no other block is in use.
 * Mutations: NOROOTVER reader skips rootver   ORDER reader checks it before the bucket   BUMPFIRST rootver before the words
 *   DBUMPFIRST before dirw   FREEFIRST S freed and record closed before rootver   DFREEFIRST old directory   NOREREAD writer does not look
 *   again under its lock   NOPATHVER looks without rootver   FREEENTRIES S freed with its entries   NORECORD no record of
 *   the split   REPAIRNOBUMP   LOCKINSEG lock in the segment   NODIRLOCK split without it   LASTWORD repair goes by the
 *   last word, not the first   RESLATE res closed after the words   PURGEFIRST (KEEP) moved slots zeroed before rootver */
#ifndef NB
#define NB 9
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef STRIPES
#define STRIPES 1
#endif
#ifndef D0
#define D0 0
#endif
#ifndef DMAX
#define DMAX 1
#endif
#ifndef A0
#define A0 (DOUBLE + SPLIT)
#endif
#ifndef N0
#define N0 2
#endif
#ifndef A1
#define A1 STORE1
#endif
#ifndef N1
#define N1 1
#endif
#ifndef SCR
#define SCR 1
#endif
#define STORE0 1                                        /* what a worker may do */
#define STORE1 2                                        /* store or delete key 1 */
#define DOUBLE 4
#define SPLIT 8                                         /* stripe 0, with STRIPES 2 also: */
#define SPLIT1 16
#define ALLOC 1                                         /* op of a record */
#define REPL 2
#define SPL 3
#define DBL 4
#define BAD (NB + 1)
#define DEAD 9
#define DIRL STRIPES
#define LAM (STRIPES - 1)
#define M(b, i) mem[(b) * 4 + (i)]
byte mem[(NB + 2) * 4]; bool used[NB + 2], dirty[NB + 2]; byte foreign;
byte dirb, dirD, rootver;
byte lock[STRIPES + 1];                                 /* 0, or 1 + worker, or DEAD */
byte op[2], lk[2], old[2], new[2], ext[2], res[2], tseg[2], tkey[2], after[2];
byte seq[2]; bool here[2]; bool missok; byte deaths;

#define NAMES(x, b) ((op[x] && (old[x] == b || new[x] == b || ext[x] == b)) || res[x] == b)
#define FREEB(b) (!used[b] && !NAMES(0, b) && !NAMES(1, b))
#define ST(step) if :: step :: atomic { deaths < KILLS -> deaths++; goto died } fi   /* a store, or killed before it */
#define MINE(b) assert(used[b] && b != foreign)
#define FREE(b) atomic { MINE(b); used[b] = 0; dirty[b] = 1 }
#define AGAIN(b) atomic { if :: used[b] -> assert(b != foreign); used[b] = 0; dirty[b] = 1 :: else fi }
#define CLOSE(x) atomic { op[x] = 0; lk[x] = 0; old[x] = 0; new[x] = 0; ext[x] = 0; tseg[x] = 0; tkey[x] = 0; after[x] = 0 }
#define UNLOCK(l) lock[l] = 0
#define TAKE(l) atomic { lock[l] == 0 || lock[l] == DEAD -> t = lock[l]; lock[l] = id + 1 }
#define LO(l) ((l) << (dirD - LAM))
#define NW (1 << (dirD - LAM))
#define IDX(k, d) ((2 * (k)) >> (2 - (d)))
#define HALF(k) (((2 * (k)) >> (1 - LAM)) & 1)          /* of its stripe */
#define STRIPE(k) ((k) * LAM)
#define WORD(l, i) M(dirb, LO(l) + (i))
#define KIND(x) op[x] >= REPL && op[x] <= SPL && lk[x]

inline pick(v) {                                        /* else v = 0 */
  if :: id == 0 -> v = 1; do :: v <= NB && !FREEB(v) -> v++ :: else -> break od; v = (v > NB -> 0 : v)
     :: else -> v = NB; do :: v && !FREEB(v) -> v-- :: else -> break od fi }
inline bump() { rv = rootver; ST(rootver = rv + 1); rv = 0 }
inline takeDir() {
#ifdef NODIRLOCK
  skip
#else
  ST(TAKE(DIRL)); if :: t == DEAD -> settleDir() :: else fi; t = 0
#endif
}
inline leaveDir() {
#ifdef NODIRLOCK
  skip
#else
  ST(UNLOCK(DIRL))
#endif
}
inline settleDir() { y = (op[0] == DBL -> 0 : 1);
  if :: op[y] == DBL ->
        if :: dirb == new[y] ->
#ifndef REPAIRNOBUMP
              bump();
#endif
              ST(AGAIN(old[y]))
           :: else -> assert(dirb == old[y]); ST(AGAIN(new[y])) fi;
        ST(CLOSE(y))
     :: else fi; y = 0 }
#ifdef KEEP
#define FIRST (NW / 2)
#define FIRSTOF(x) ext[x]
#else
#define FIRST 0
#define FIRSTOF(x) new[x]
#endif
#ifdef LASTWORD
#define DECIDE (NW - 1)
#define DECIDER(x) ext[x]
#else
#define DECIDE FIRST
#define DECIDER(x) FIRSTOF(x)
#endif
inline words(x) { i = FIRST;                            /* the first one decides for a repair */
  do :: i < NW -> ST(atomic { MINE(dirb); WORD(lk[x], i) = (i < NW / 2 -> new[x] : ext[x]) }); i++ :: else -> break od; i = 0 }
inline drop(x) {                                        /* what S is after the words and rootver */
#ifdef KEEP
  i = 0; do :: i < 2 -> if :: STRIPE(i) == lk[x] && HALF(i) -> ST(atomic { MINE(old[x]); M(old[x], 1 + i) = 0 }) :: else fi; i++
             :: else -> break od; i = 0;
  ST(M(old[x], 3) = after[x])
#else
#ifdef FREEENTRIES
  if :: M(old[x], 1) -> ST(AGAIN(M(old[x], 1))) :: else fi;
#endif
  ST(AGAIN(old[x]))
#endif
}
inline settle(l) { x = (KIND(0) == l && op[0] >= REPL && op[0] <= SPL -> 0 : 1);
  if :: op[x] == REPL && lk[x] == l ->
        if :: M(tseg[x], 1 + tkey[x]) == new[x] ->
              ST(M(tseg[x], 0)++); if :: old[x] -> ST(AGAIN(old[x])) :: else fi; ST(M(tseg[x], 3) = after[x])
           :: else -> assert(M(tseg[x], 1 + tkey[x]) == old[x]); if :: new[x] -> ST(AGAIN(new[x])) :: else fi fi;
        ST(CLOSE(x))
     :: op[x] == SPL && lk[x] == l ->
        takeDir();
        if :: WORD(l, DECIDE) == DECIDER(x) -> words(x);
#ifndef REPAIRNOBUMP
              bump();
#endif
              leaveDir(); drop(x)
           :: else -> assert(WORD(l, DECIDE) == old[x]); leaveDir();
#ifndef KEEP
              ST(AGAIN(new[x]));
#endif
              ST(AGAIN(ext[x])) fi;
        ST(CLOSE(x))
     :: else fi; x = 0 }
inline take(l) { ST(TAKE(l)); if :: t == DEAD -> settle(l) :: else fi; t = 0 }
inline path(k) {
  do :: rv = rootver; d_step { d = dirD; s = dirb }; s = M(s, IDX(k, d));
#ifdef NOPATHVER
        break
#else
        if :: rootver == rv -> break :: else fi
#endif
     od; atomic { rv = 0; d = 0 } }

proctype P(byte id, ops, mask) { byte n, t, x, y, s, a, b, rv, d, i, k, l, what;
life: /* a new process recovers the slot of the one before */
  if :: res[id] -> ST(AGAIN(res[id])); ST(res[id] = 0) :: else fi;
  if :: op[id] == ALLOC -> ST(AGAIN(new[id])); ST(CLOSE(id)) :: else fi;
  l = lk[id];
  if :: op[id] == DBL -> takeDir(); leaveDir()
     :: op[id] == REPL || op[id] == SPL -> take(l); ST(UNLOCK(l))
     :: else fi; l = 0; assert(!op[id]);
next:
  atomic { if :: n < ops && (mask & STORE0) -> what = STORE0; k = 0
     :: n < ops && (mask & STORE1) -> what = STORE1; k = 1
     :: n < ops && (mask & DOUBLE) && dirD < DMAX -> what = DOUBLE
     :: n < ops && (mask & SPLIT) && dirD > LAM -> what = SPLIT
     :: n < ops && (mask & SPLIT1) && dirD > LAM -> what = SPLIT; k = 1
     :: else -> goto done fi; n++; l = STRIPE(k);
     if :: skip :: what == STORE1 -> goto change fi /* delete */ };
  ST(atomic { pick(a); if :: a == 0 -> goto give :: else fi; op[id] = ALLOC; new[id] = a; used[a] = 1;
#ifndef KEEP
    if :: what == SPLIT -> pick(b); if :: b == 0 -> used[a] = 0; op[id] = 0; new[id] = 0; goto give :: else -> res[id] = b; used[b] = 1 fi :: else fi;
#endif
    if :: what < DOUBLE -> M(a, 0) = 1 + k; M(a, 1) = seq[k] + 1 :: else fi });
  if :: what == SPLIT -> goto split :: what == DOUBLE -> goto double :: else fi;
change:
#ifdef LOCKINSEG
  path(k); ST(atomic { lock[l] == 0 || lock[l] == DEAD -> t = lock[l]; lock[l] = id + 1; MINE(s) });
  if :: t == DEAD -> settle(l) :: else fi; t = 0; path(k);
#else
#ifdef NOREREAD
  path(k); take(l);
#else
  take(l); path(k);
#endif
#endif
  if :: a == 0 && M(s, 1 + k) == 0 -> ST(UNLOCK(l)); goto give :: else fi;
  ST(atomic { lk[id] = l; old[id] = M(s, 1 + k); new[id] = a; tseg[id] = s; tkey[id] = k;
    after[id] = M(s, 3) + (a != 0) - (old[id] != 0); op[id] = REPL });
  ST(atomic { MINE(s); M(s, 1 + k) = a; seq[k]++; here[k] = (a != 0); missok = (k == 1 && a == 0 -> 1 : missok) });
  ST(atomic { MINE(s); M(s, 0)++ });
  if :: old[id] -> ST(FREE(old[id])) :: else fi;
  ST(atomic { MINE(s); M(s, 3) = after[id] });
  ST(CLOSE(id)); ST(UNLOCK(l)); goto give;
split:
  take(l); path(k);
  atomic { if :: NW >= 2 && WORD(l, 0) == WORD(l, NW - 1) :: else -> goto unlock fi };   /* S's depth: stays while we hold its lock */
#ifdef KEEP
  atomic { b = a; a = s };
#else
  d_step { MINE(s); M(a, 0) = 0; M(a, 1) = (HALF(0) -> 0 : M(s, 1)); M(a, 2) = (HALF(1) -> 0 : M(s, 2)); M(a, 3) = (M(a, 1) != 0) + (M(a, 2) != 0) };
#endif
  d_step { MINE(s); M(b, 0) = 0; M(b, 1) = (HALF(0) -> M(s, 1) : 0); M(b, 2) = (HALF(1) -> M(s, 2) : 0); M(b, 3) = (M(b, 1) != 0) + (M(b, 2) != 0) };
#ifdef NORECORD
  ST(atomic { CLOSE(id); lk[id] = l; old[id] = s; new[id] = a; ext[id] = b; after[id] = M(s, 3) - M(b, 3); res[id] = 0 });
#else
  ST(atomic { lk[id] = l; old[id] = s; new[id] = a; ext[id] = b; after[id] = M(s, 3) - M(b, 3); op[id] = SPL });
#if !defined(KEEP) && !defined(RESLATE)
  ST(res[id] = 0);
#endif
#endif
  takeDir();
#ifdef BUMPFIRST
  bump(); words(id);
#else
  words(id);
#ifdef FREEFIRST
  ST(FREE(s)); ST(CLOSE(id));
#endif
#ifdef PURGEFIRST
  drop(id);
#endif
  bump();
#endif
  leaveDir();
#ifndef FREEFIRST
  drop(id);
#endif
#ifdef RESLATE
  ST(res[id] = 0);
#endif
  ST(CLOSE(id)); ST(UNLOCK(l)); goto give;
double:
#ifdef NODIRLOCK
  ST(TAKE(DIRL)); if :: t == DEAD -> settleDir() :: else fi; t = 0;
#else
  takeDir();
#endif
  if :: dirD < DMAX :: else -> ST(UNLOCK(DIRL)); goto undo fi;
  d_step { i = 0; do :: i < (2 << dirD) -> M(a, i) = M(dirb, i / 2); i++ :: else -> break od; i = 0 };
  ST(atomic { lk[id] = DIRL; old[id] = dirb; op[id] = DBL });
#ifdef DBUMPFIRST
  bump();
#endif
  ST(atomic { assert(dirb == old[id]); dirb = a; dirD++ });
#ifdef DFREEFIRST
  ST(FREE(old[id])); ST(CLOSE(id)); bump();
#else
#ifndef DBUMPFIRST
  bump();
#endif
  ST(FREE(old[id]));
#endif
  ST(CLOSE(id)); ST(UNLOCK(DIRL)); goto give;
unlock: ST(UNLOCK(l));
undo: if :: res[id] -> ST(FREE(res[id])); ST(res[id] = 0) :: else fi; ST(FREE(a)); ST(CLOSE(id));
give: atomic { s = 0; a = 0; b = 0; k = 0; l = 0; what = 0; goto next };
died: atomic { l = 0; do :: l <= DIRL -> if :: lock[l] == id + 1 -> lock[l] = DEAD :: else fi; l++ :: else -> break od;
    t = 0; x = 0; y = 0; s = 0; a = 0; b = 0; rv = 0; d = 0; i = 0; k = 0; l = 0; what = 0; goto life };
done: skip }

proctype F() { byte b, i, n;
  do :: atomic { n < SCR -> n++; b = 1; do :: b <= NB && !(FREEB(b) && dirty[b]) -> b++ :: b <= NB && FREEB(b) && dirty[b] -> b++ :: b <= NB && FREEB(b) && dirty[b] -> break :: b > NB -> goto out od;
          if :: M(b, 0) = 0 :: M(b, 1) = BAD :: M(b, 2) = BAD fi;
          if :: b = 0 :: foreign == 0 -> used[b] = 1; foreign = b; b = 0 fi }     /* gives it back at once, or never */
     :: n == SCR -> break od;
out: n = 0 }
#define WILD(b) ((b) == 0 || (b) > NB)
proctype R() { byte lo, rv, d, s, v, e, key, val, k; bool wild;
  atomic { if :: k = 0 :: k = 1 fi; lo = seq[k]; missok = !here[1]; rv = rootver };
  d_step { d = dirD; s = dirb }; s = M(s, IDX(k, d));
  if :: WILD(s) -> wild = 1; goto last :: else fi;
  v = M(s, 0); e = M(s, 1 + k);
  if :: e == 0 :: WILD(e) && e -> wild = 1 :: else -> key = M(e, 0); val = M(e, 1) fi;
#ifdef ORDER
  if :: rootver != rv -> goto retry :: else fi;
#endif
  if :: M(s, 0) != v -> goto retry :: else fi;
last:
  atomic {
#if !defined(NOROOTVER) && !defined(ORDER)
    if :: rootver != rv -> goto retry :: else fi;
#endif
    assert(!wild);
    if :: e && key == 1 + k -> assert(lo <= val && val <= seq[k]) :: else -> assert(k == 1 && missok) fi };
retry: atomic { lo = 0; rv = 0; d = 0; s = 0; v = 0; e = 0; key = 0; val = 0; k = 0; wild = 0 } }

init { byte b, i, k, s, c;
  atomic {                                              /* entries 1, 2; segment 3 (and 5); directory 4 */
    M(1, 0) = 1; M(1, 1) = 1; M(2, 0) = 2; M(2, 1) = 1; seq[0] = 1; seq[1] = 1; here[0] = 1; here[1] = 1;
    b = 1; do :: b <= 4 -> used[b] = 1; b++ :: else -> break od;
    dirb = 4; dirD = D0; M(3, 1) = 1;
    i = 0; do :: i < 1 << D0 -> M(4, i) = 3; i++ :: else -> break od;
#if STRIPES == 2
    used[5] = 1; M(5, 2) = 2; M(5, 3) = 1; M(3, 3) = 1;
    do :: i > 1 << (D0 - 1) -> i--; M(4, i) = 5 :: else -> break od;
#else
    M(3, 2) = 2; M(3, 3) = 2;
#endif
    b = 0; i = 0; run P(0, N0, A0); run P(1, N1, A1); run F();
#ifndef NOREADER
    run R()
#endif
    };
  atomic { _nr_pr == 1 ->
    b = 0; do :: b < 2 -> assert(!op[b] && !res[b]); b++ :: else -> break od;
    b = 0; do :: b <= DIRL -> assert(!lock[b] || lock[b] == DEAD); b++ :: else -> break od;
    assert(used[dirb]); used[dirb] = 0;                  /* strike out what is reachable */
    i = 0; do :: i < 1 << dirD -> s = M(dirb, i);
      if :: i == 0 || M(dirb, i - 1) != s ->
            assert(used[s]); used[s] = 0; c = 0; k = 0;
            do :: k < 2 -> b = M(s, 1 + k);
                  if :: b -> assert(M(dirb, IDX(k, dirD)) == s && here[k] && used[b] && M(b, 0) == 1 + k && M(b, 1) == seq[k]); used[b] = 0; c++
                     :: else -> assert(M(dirb, IDX(k, dirD)) != s || !here[k]) fi; k++
               :: else -> break od;
            assert(c == M(s, 3))
         :: else fi; i++ :: else -> break od;
    b = 1; do :: b <= NB -> assert(!used[b] || b == foreign); b++ :: else -> break od } }

/* swap.pml: exchange of the whole content (ReplaceAll, Clear) by two sides, beside what grow.pml has (its head explains).
 * Block 0 is the root: {directory of side 0, of side 1, version}; bit 0 of version is the current side, the rest counts, so
 * a version is raised by 2.  count[] is per side and stripe, in the root too.  Directory: words; segment {version, slot of
 * key 0, of key 1}; entry {key, value}.  Two workers (masks A0, A1) store, delete, double, split, exchange (SWAPS: the new
 * content is key 0; CLEAR: nothing) or only take down what the swap lock's last holder left (WORK); no space while building:
 * it is taken down again.  Ranks: swap lock, stripes, tree lock.  Every change is a REPLACE {lock, target, old, new, version
 * word or none, count word or none}, but a split.  A store that ends on the side that was current when it looked counts as
 * done before the exchange; no read may return it after.
 * Promises: as in grow.pml; at the end also the other side's blocks are reachable once, whatever is left of it.
 * Mutations, reader: NOVER skips version at the end   SIDEONLY compares the side alone   writer: NOREREAD   NOPATHVER
 *   exchange: NORAISE count not raised   NOTREE without the tree lock   EARLY take-down before it   DBLSIDE doubling on a
 *   side that is no longer current   take-down: NOSTRIPE   SKIPEMPTY no stripe lock where all words are zero   PARENTFIRST
 *   segment before its entries   WORDFIRST segment freed with the first of its words, the others zeroed after   DIRFIRST directory before the words   NORESET count left as it is   NOREC no records   repair: NOSETTLE
 *   swap lock taken from the dead without   REPAIRNOBUMP   CURSIDE dead split finished on the current side   build:
 *   LINKALLOC linked under ALLOC   pool: NOQUAR.  Options that pass: PART who takes down
 *   may stop after any word and leave the rest to the next   GRACE takes a stripe lock and gives it back at once, then
 *   takes the stripe down under the swap lock alone   and, harmless: COUNTONLY reader compares the count alone   TREEDIR directory
 *   taken off under the tree lock   COUNTALL builder stores every count, even with NORESET */
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
#define D0 (STRIPES - 1)
#endif
#ifndef BD                                              /* depth that is built */
#define BD (STRIPES - 1)
#endif
#ifndef A0
#define A0 SWAPS
#endif
#ifndef N0
#define N0 1
#endif
#ifndef A1
#define A1 STORE0
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
#define SPLIT 8
#define SWAPS 16
#define CLEAR 32
#define WORK 64
#define EARLYDOWN 128
#define ALLOC 1                                         /* op of a record */
#define REPL 2
#define SPL 3
#define BAD (NB + 1)
#define DEAD 9
#define STALE 99
#define SWAPL STRIPES
#define TREEL (STRIPES + 1)
#define LAM (STRIPES - 1)
#define M(b, i) mem[(b) * 3 + (i)]
#define VERSION mem[2]
#define CNT(side, l) ((side) * STRIPES + (l))
byte mem[(NB + 2) * 3]; bool used[NB + 2], dirty[NB + 2]; byte foreign;
byte dirD[2], count[2 * STRIPES];                       /* dirD: part of the directory reference */
byte lock[STRIPES + 2];                                 /* 0, or 1 + worker, or DEAD */
byte op[2], lk[2], tg[2], old[2], new[2], ver[2], cw[2], after[2], ext[2], res[2];  /* tg, ver: index into mem; cw: 1 + into count */
byte seq[2]; bool here[2], missok[2]; byte deaths;

#ifdef NOQUAR
#define FREEB(b) (!used[b])
#else
#define NAMES(x, b) ((op[x] && (old[x] == b || new[x] == b || ext[x] == b)) || res[x] == b)
#define FREEB(b) (!used[b] && !NAMES(0, b) && !NAMES(1, b))
#endif
#define ST(step) if :: step :: atomic { deaths < KILLS -> deaths++; goto died } fi   /* a store, or killed before it */
#define MINE(b) assert((b) == 0 || (used[b] && (b) != foreign))
#define FREE(b) atomic { MINE(b); used[b] = 0; dirty[b] = 1 }
#define AGAIN(b, must) atomic { if :: used[b] -> assert(b != foreign); used[b] = 0; dirty[b] = 1 :: else -> assert(!must) fi }
#define CLOSE(x) atomic { op[x] = 0; lk[x] = 0; tg[x] = 0; old[x] = 0; new[x] = 0; ver[x] = 0; cw[x] = 0; after[x] = 0; ext[x] = 0 }
#define UNLOCK(l) lock[l] = 0
#define TAKE(l) atomic { lock[l] == 0 || lock[l] == DEAD -> t = lock[l]; lock[l] = id + 1 }
#define LO(l, sd) ((l) << (dirD[sd] - LAM))
#define NW(sd) (1 << (dirD[sd] - LAM))
#define WORD(l, i, sd) M(M(0, sd), LO(l, sd) + (i))
#define IDX(k, d) ((2 * (k)) >> (2 - (d)))
#define HALF(k) (((2 * (k)) >> (1 - LAM)) & 1)          /* of its stripe */
#define STRIPE(k) ((k) * LAM)
#ifdef CURSIDE
#define SD(x) (VERSION & 1)
#else
#define SD(x) tg[x]
#endif
#ifdef REPAIRNOBUMP
#define RB 0
#else
#define RB 1
#endif
#ifdef NOSTRIPE
#define STRIPED 0
#else
#define STRIPED 1
#endif
#if defined(NOSTRIPE) || defined(GRACE)
#define RL SWAPL
#define HELD 0
#else
#define RL l
#define HELD 1
#endif
#ifdef NOTREE
#define TREED 0
#else
#define TREED 1
#endif
#ifdef NORAISE
#define RAISE 0
#else
#define RAISE 2
#endif
#ifdef DBLSIDE
#define STILL 1
#else
#define STILL (sd == (VERSION & 1))
#endif
#ifdef WORDFIRST
#define WF 1
#else
#define WF 0
#endif
#define MORE (i + 1 < LO(l, sd) + NW(sd) && M(d, i + 1) == s)   /* words to s */

inline pick(v) {                                        /* else v = 0 */
  if :: id == 0 -> v = 1; do :: v <= NB && !FREEB(v) -> v++ :: else -> break od; v = (v > NB -> 0 : v)
     :: else -> v = NB; do :: v && !FREEB(v) -> v-- :: else -> break od fi }
inline reserve(v) { pick(v);
  if :: v -> used[v] = 1; M(v, 0) = 0; M(v, 1) = 0; M(v, 2) = 0; op[id] = ALLOC; new[id] = v :: else fi }
inline bump(w) { rv = mem[w]; ST(mem[w] = rv + 2); rv = 0 }
inline open(L, T, V, C, A) {                            /* new stays: what is reserved, or 0 */
  ST(atomic { MINE((T) / 3); lk[id] = L; tg[id] = T; old[id] = mem[T]; ver[id] = V; cw[id] = C; after[id] = A; op[id] = REPL }) }
inline redo(x, must) {                                  /* a REPLACE after its store, or its repair */
  MINE(tg[x] / 3);
  if :: mem[tg[x]] == new[x] ->
        if :: ver[x] && (must || RB) -> bump(ver[x]) :: else fi;
        if :: old[x] -> ST(AGAIN(old[x], must)) :: else fi;
        if :: cw[x] -> ST(count[cw[x] - 1] = after[x]) :: else fi
     :: else -> assert(mem[tg[x]] == old[x] && !must); if :: new[x] -> ST(AGAIN(new[x], 0)) :: else fi fi;
  ST(CLOSE(x)) }
inline takeTree() { ST(TAKE(TREEL));
  if :: t == DEAD -> y = (op[0] == REPL && lk[0] == TREEL -> 0 : 1); if :: op[y] == REPL && lk[y] == TREEL -> redo(y, 0) :: else fi; y = 0
     :: else fi; t = 0 }
inline words(x) { i = 0;                                /* of a split; the first one decides for a repair */
  do :: i < NW(SD(x)) -> ST(atomic { MINE(M(0, SD(x))); WORD(lk[x], i, SD(x)) = (i < NW(SD(x)) / 2 -> new[x] : ext[x]) }); i++
     :: else -> break od; i = 0 }
#define NAMED(x, l) (op[x] >= REPL && lk[x] == l)
inline settle(l) { x = (NAMED(0, l) -> 0 : 1);
  if :: NAMED(x, l) && op[x] == REPL -> redo(x, 0)
     :: NAMED(x, l) && op[x] == SPL ->
        takeTree();
        if :: WORD(l, 0, SD(x)) == new[x] -> words(x); bump(2); ST(UNLOCK(TREEL)); ST(AGAIN(old[x], 0))
           :: else -> assert(WORD(l, 0, SD(x)) == old[x]); ST(UNLOCK(TREEL)); ST(AGAIN(new[x], 0)); ST(AGAIN(ext[x], 0)) fi;
        ST(CLOSE(x))
     :: else fi; x = 0 }
#ifdef NOSETTLE
#define SETTLES(l) (l != SWAPL)
#else
#define SETTLES(l) 1
#endif
#define CALL(c, l, r) atomic { if :: c -> q = l; ret = r; goto take :: else fi }; back##r: skip   /* if c: take lock l, settle what it names */
inline takeOff(L, T) {                                  /* T and what it leads to */
#ifdef NOREC
  b = mem[T]; ST(mem[T] = 0); ST(FREE(b)); b = 0
#else
  open(L, T, 0, 0, 0); ST(atomic { MINE((T) / 3); mem[T] = 0 }); redo(id, 1)
#endif
}
inline path(k) {
  do :: rv = VERSION; sd = rv & 1; d_step { i = dirD[sd]; d = M(0, sd) }; s = M(d, IDX(k, i));
#ifdef NOPATHVER
        break
#else
        if :: VERSION == rv -> break :: else fi
#endif
     od; atomic { rv = 0; d = 0; i = 0 } }

proctype P(byte id, ops, mask) { byte n, t, q, ret, x, y, s, a, b, d, sd, rv, i, k, l, what;
  goto life;
take:
  ST(TAKE(q)); if :: t == DEAD && SETTLES(q) -> settle(q) :: else fi;
  atomic { t = 0; q = 0;
    if :: ret == 1 -> ret = 0; goto back1 :: ret == 2 -> ret = 0; goto back2 :: ret == 3 -> ret = 0; goto back3 :: ret == 4 -> ret = 0; goto back4
       :: ret == 5 -> ret = 0; goto back5 :: ret == 6 -> ret = 0; goto back6 :: ret == 7 -> ret = 0; goto back7
#ifdef TREEDIR
       :: ret == 8 -> ret = 0; goto back8
#endif
    fi };
life: /* a new process recovers the slot of the one before */
  if :: res[id] -> ST(AGAIN(res[id], 0)); ST(res[id] = 0) :: else fi;
  l = lk[id];
  if :: op[id] == ALLOC -> ST(AGAIN(new[id], 0)); ST(CLOSE(id))
     :: op[id] >= REPL -> CALL(1, l, 1);
#ifdef NOSETTLE
        if :: op[id] -> settle(l) :: else fi;
#endif
        ST(UNLOCK(l))
     :: else fi; l = 0; assert(!op[id]);
next:
  atomic { if :: n < ops && (mask & STORE0) -> what = STORE0
     :: n < ops && (mask & STORE1) -> what = STORE1; k = 1
     :: n < ops && (mask & DOUBLE) && dirD[VERSION & 1] < 1 -> what = DOUBLE; sd = VERSION & 1
     :: n < ops && (mask & SPLIT) && dirD[VERSION & 1] > LAM -> what = SPLIT
     :: n < ops && (mask & SWAPS) -> what = SWAPS
     :: n < ops && (mask & CLEAR) -> what = CLEAR
     :: n < ops && (mask & WORK) -> what = WORK
     :: else -> goto done fi; n++; l = STRIPE(k);
     if :: what >= SWAPS -> goto swap :: else fi;
     if :: skip :: what == STORE1 -> goto change fi /* delete */ };
  ST(atomic { reserve(a); if :: a == 0 -> goto give :: else fi;
    if :: what == SPLIT -> pick(b); if :: b == 0 -> used[a] = 0; op[id] = 0; new[id] = 0; goto give :: else -> res[id] = b; used[b] = 1 fi :: else fi;
    if :: what < DOUBLE -> M(a, 0) = 1 + k :: else fi });
  if :: what == DOUBLE -> goto double :: else fi;
change:
#ifdef NOREREAD
  path(k);
#endif
  CALL(1, l, 2);
#ifndef NOREREAD
  path(k);
#endif
  if :: what == SPLIT -> goto split :: else fi;
  if :: a == 0 && M(s, 1 + k) == 0 -> ST(UNLOCK(l)); goto give :: else fi;
  open(l, s * 3 + 1 + k, s * 3, 1 + CNT(sd, l), count[CNT(sd, l)] + (a != 0) - (old[id] != 0));
  ST(atomic { MINE(s); M(s, 1 + k) = a;
    if :: sd == (VERSION & 1) -> seq[k]++; here[k] = (a != 0); missok[k] = (a -> missok[k] : 1); if :: a -> M(a, 1) = seq[k] :: else fi
       :: else -> if :: a -> M(a, 1) = STALE :: else fi fi });
  redo(id, 1); ST(UNLOCK(l)); goto give;
split:
  atomic { if :: NW(sd) >= 2 && WORD(l, 0, sd) == WORD(l, NW(sd) - 1, sd) :: else -> goto unlock fi };
  d_step { MINE(s); M(a, 0) = 0; M(a, 1) = (HALF(0) -> 0 : M(s, 1)); M(a, 2) = (HALF(1) -> 0 : M(s, 2)) };
  d_step { MINE(s); M(b, 0) = 0; M(b, 1) = (HALF(0) -> M(s, 1) : 0); M(b, 2) = (HALF(1) -> M(s, 2) : 0) };
  ST(atomic { lk[id] = l; tg[id] = sd; old[id] = s; new[id] = a; ext[id] = b; op[id] = SPL });
  ST(res[id] = 0);
  CALL(1, TREEL, 3); words(id); bump(2); ST(UNLOCK(TREEL)); ST(FREE(s)); ST(CLOSE(id)); ST(UNLOCK(l)); goto give;
double:
  CALL(1, TREEL, 4);
  if :: STILL && dirD[sd] < 1 :: else -> ST(UNLOCK(TREEL)); goto undo fi;
  d_step { M(a, 0) = M(M(0, sd), 0); M(a, 1) = M(a, 0) };
  open(TREEL, sd, 2, 0, 0); ST(atomic { assert(M(0, sd) == old[id]); M(0, sd) = a; dirD[sd]++ }); redo(id, 1);
  ST(UNLOCK(TREEL)); goto give;
swap:
  if :: what == WORK && lock[SWAPL] && lock[SWAPL] != DEAD -> goto give :: else fi; CALL(1, SWAPL, 5);
  sd = !(VERSION & 1);                                  /* stays while we hold the swap lock */
down: /* side sd, if there is one */
  d = M(0, sd); if :: d == 0 -> goto emptied :: else fi;
#ifdef DIRFIRST
  takeOff(SWAPL, sd);
#endif
  l = 0;
  do :: l < STRIPES ->
#ifdef SKIPEMPTY
        atomic { if :: M(d, LO(l, sd)) == 0 && M(d, LO(l, sd) + NW(sd) - 1) == 0 -> l++; goto skipped :: else fi };
#endif
        CALL(STRIPED, l, 6);
#ifdef GRACE
        ST(UNLOCK(l));
#endif
        i = LO(l, sd);
        do :: i < LO(l, sd) + NW(sd) -> s = M(d, i);
              if :: s && MORE && !WF -> ST(atomic { MINE(d); M(d, i) = 0 })   /* its last word goes last */
                 :: s && (!MORE || WF) ->
#ifdef PARENTFIRST
                    takeOff(RL, d * 3 + i);
#endif
                    k = 0; do :: k < 2 && M(s, 1 + k) -> takeOff(RL, s * 3 + 1 + k); k++
                              :: k < 2 && !M(s, 1 + k) -> k++ :: else -> break od; k = 0;
#ifndef PARENTFIRST
                    takeOff(RL, d * 3 + i);
#endif
                    if :: MORE -> i++; ST(M(d, i) = 0) :: else fi
                 :: else fi; i++;
#ifdef PART
              if :: skip :: what == WORK -> if :: HELD -> ST(UNLOCK(l)) :: else fi; i = 0; goto part fi
#endif
           :: else -> break od; i = 0; s = 0;
#ifndef NORESET
        ST(count[CNT(sd, l)] = 0);
#endif
        if :: HELD -> ST(UNLOCK(l)) :: else fi; l++;
skipped: skip
     :: else -> break od;
#ifdef TREEDIR
  CALL(1, TREEL, 8); open(TREEL, sd, 2, 0, 0); ST(M(0, sd) = 0); redo(id, 1); ST(UNLOCK(TREEL));
#else
#ifndef DIRFIRST
  takeOff(SWAPL, sd);
#endif
#endif
emptied:
  l = 0; d = 0;
  if :: what == WORK -> goto part :: what == EARLYDOWN -> what = a; a = 0; sd = !sd; goto exchange :: else fi;
build: /* i: 0 the directory, then a segment to each word, then the entry of key 0 */
  ST(atomic { reserve(a); if :: a == 0 -> i = 0; what = WORK; goto down :: else fi;
    M(a, 0) = (i > 1 << BD);
    b = (i == 0 -> sd : (i > 1 << BD -> M(d, 0) * 3 + 1 : d * 3 + i - 1)) });
#ifdef LINKALLOC
  ST(atomic { mem[b] = a; dirD[sd] = BD }); ST(CLOSE(id));
#else
  open(SWAPL, b, 0, 0, 0); ST(atomic { mem[b] = a; dirD[sd] = BD }); redo(id, 1);
#endif
  atomic { d = M(0, sd); a = 0; b = 0; i++; if :: i <= (1 << BD) || (i == 1 + (1 << BD) && what == SWAPS) -> goto build :: else fi; i = 0 };
  if :: what == SWAPS -> ST(count[CNT(sd, 0)] = 1) :: else fi;
#ifdef COUNTALL
  if :: what == CLEAR -> ST(count[CNT(sd, 0)] = 0) :: else fi;
  if :: STRIPES == 2 -> ST(count[CNT(sd, STRIPES - 1)] = 0) :: else fi;
#endif
#ifdef EARLY
  sd = !sd; a = what; what = EARLYDOWN; goto down;
#endif
exchange:
  CALL(TREED, TREEL, 7);
  rv = VERSION;
  ST(atomic {
    VERSION = (rv ^ 1) + RAISE;
    seq[0]++; seq[1]++; here[0] = (what == SWAPS); here[1] = 0; missok[1] = 1; missok[0] = (what == SWAPS -> missok[0] : 1);
    d = M(M(0, sd), 0); if :: what == SWAPS -> M(M(d, 1), 1) = seq[0] :: else fi; d = 0 });
  rv = 0;
  if :: TREED -> ST(UNLOCK(TREEL)) :: else fi;
  atomic { what = WORK; sd = !sd; goto down };
part: ST(UNLOCK(SWAPL)); goto give;
unlock: ST(UNLOCK(l));
undo: if :: res[id] -> ST(FREE(res[id])); ST(res[id] = 0) :: else fi; ST(FREE(a)); ST(CLOSE(id));
give: atomic { s = 0; a = 0; b = 0; d = 0; sd = 0; k = 0; l = 0; what = 0; goto next };
died: atomic { l = 0; do :: l <= TREEL -> if :: lock[l] == id + 1 -> lock[l] = DEAD :: else fi; l++ :: else -> break od;
    t = 0; q = 0; ret = 0; x = 0; y = 0; s = 0; a = 0; b = 0; d = 0; sd = 0; rv = 0; i = 0; k = 0; l = 0; what = 0; goto life };
done: skip }

proctype F() { byte b, n;
  do :: atomic { n < SCR -> n++; b = 1;
          do :: b <= NB && !(FREEB(b) && dirty[b]) -> b++ :: b <= NB && FREEB(b) && dirty[b] -> b++ :: b <= NB && FREEB(b) && dirty[b] -> break :: b > NB -> goto out od;
          if :: M(b, 0) = 0 :: M(b, 1) = BAD :: M(b, 2) = BAD fi;
          if :: b = 0 :: foreign == 0 -> used[b] = 1; foreign = b; b = 0 fi }     /* gives it back at once, or never */
     :: n == SCR -> break od;
out: n = 0; b = 0 }
#define WILD(b) ((b) == 0 || (b) > NB)
#ifdef SIDEONLY
#define SAME ((VERSION & 1) == (rv & 1))
#else
#ifdef COUNTONLY
#define SAME (VERSION / 2 == rv / 2)
#else
#define SAME (VERSION == rv)
#endif
#endif
proctype R() { byte lo, rv, d, i, s, v, e, key, val, k; bool wild;
  atomic { if :: k = 0 :: k = 1 fi; lo = seq[k]; missok[k] = !here[k]; rv = VERSION };
  d_step { i = dirD[rv & 1]; d = M(0, rv & 1) }; if :: d == 0 -> wild = 1; goto last :: else fi;
  s = M(d, IDX(k, i)); if :: WILD(s) -> wild = 1; goto last :: else fi;
  v = M(s, 0); e = M(s, 1 + k);
  if :: e == 0 :: WILD(e) && e -> wild = 1 :: else -> key = M(e, 0); val = M(e, 1) fi;
  if :: M(s, 0) != v -> goto retry :: else fi;
last:
  atomic {
#ifndef NOVER
    if :: !SAME -> goto retry :: else fi;
#endif
    assert(!wild);
    if :: e && key == 1 + k -> assert(lo <= val && val <= seq[k]) :: else -> assert(missok[k]) fi };
retry: atomic { lo = 0; rv = 0; d = 0; i = 0; s = 0; v = 0; e = 0; key = 0; val = 0; k = 0; wild = 0 } }

init { byte b, i, k, s, c, sd;
  atomic {                                              /* entries 1, 2; segment 3 (and 5); directory 4 of side 0 */
    M(1, 0) = 1; M(1, 1) = 1; M(2, 0) = 2; M(2, 1) = 1; seq[0] = 1; seq[1] = 1; here[0] = 1; here[1] = 1;
    b = 1; do :: b <= 4 + LAM -> used[b] = 1; b++ :: else -> break od;
    M(0, 0) = 4; dirD[0] = D0; M(4, 0) = 3; M(3, 1) = 1;
#if STRIPES == 2
    M(4, 1) = 5; M(5, 2) = 2; count[0] = 1; count[1] = 1;
#else
    M(4, 1) = D0 * 3; M(3, 2) = 2; count[0] = 2;
#endif
    b = 0; run P(0, N0, A0); run P(1, N1, A1); run F();
#ifndef NOREADER
    run R()
#endif
  };
  atomic { _nr_pr == 1 ->
    b = 0; do :: b < 2 -> assert(!op[b] && !res[b]); b++ :: else -> break od;
    b = 0; do :: b <= TREEL -> assert(!lock[b] || lock[b] == DEAD); b++ :: else -> break od;
    sd = 0; do :: sd < 2 ->                              /* strike out what is reachable; c: the side is current */
      c = (sd == (VERSION & 1));
      if :: M(0, sd) ->
        assert(used[M(0, sd)]); used[M(0, sd)] = 0;
        i = 0; do :: i < 1 << dirD[sd] -> s = M(M(0, sd), i);
          if :: s && (i == 0 || M(M(0, sd), i - 1) != s) ->
                assert(used[s]); used[s] = 0; k = 0;
                do :: k < 2 -> b = M(s, 1 + k);
                      if :: b -> assert(used[b]); used[b] = 0;
                            assert(!c || (M(M(0, sd), IDX(k, dirD[sd])) == s && here[k] && M(b, 0) == 1 + k && M(b, 1) == seq[k]));
                            if :: c -> count[CNT(sd, STRIPE(k))]-- :: else fi
                         :: else -> assert(!c || M(M(0, sd), IDX(k, dirD[sd])) != s || !here[k]) fi; k++
                   :: else -> break od
             :: else -> assert(s || !c) fi; i++ :: else -> break od
         :: else -> assert(!c) fi;
      if :: c -> k = 0; do :: k < STRIPES -> assert(count[CNT(sd, k)] == 0); k++ :: else -> break od :: else fi; sd++
       :: else -> break od;
    b = 1; do :: b <= NB -> assert(!used[b] || b == foreign); b++ :: else -> break od } }

/* swap.pml: exchange of the whole tree (ReplaceAll, Clear) and the graveyard, beside what grow.pml has (its head explains).
 * Directory {word, word, next grave}, both words lead to one segment {version, slot, slot}.  P0 builds a tree with key 0
 * aside: the directory under record BUILD, each block below under a record of its own (res), LINK when it is about to be
 * linked; takes the stripe, the directory lock; SWAP; dirb; rootver; grave.  P1 replaces key 0, works on the graveyard or
 * moves the directory (as a doubling does).  Ranks: stripe, directory, graveyard.  SWAP and MOVE name the directory lock,
 * FREE the graveyard's.  The graveyard is worked off by one FREE a block, children first, a word more to a segment zeroed
 * before; a grave that an open record names is left alone.
 * Mutations: NOROOTVER   NOREREAD   REPAIRNOBUMP   NOSTRIPE swap without the stripes   GRAVEFIRST grave before dirb
 *   BUMPLATE record closed before rootver   NONAMED named graves are worked on   NOLIST repair pushes what is on the list
 *   OWNLOCK takers of the directory lock do not settle SWAP   LINKALLOC linked under ALLOC   BUILDFIRST BUILD settled before
 *   res   DUPWORD second word to a segment not zeroed before   PARENTFIRST segment freed before its entries */
#ifndef NB
#define NB 9
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef A1
#define A1 (STORE0 + WORK + MOVES)
#endif
#ifndef N1
#define N1 1
#endif
#ifndef SCR
#define SCR 1
#endif
#define STORE0 1
#define WORK 2
#define MOVES 4
#define SWAPS 8
#define BUILD 1                                         /* as ALLOC but for a swap's */
#define REPL 2
#define SWP 3
#define MOV 4
#define FRE 5
#define ALLOC 6
#define BAD (NB + 1)
#define DEAD 9
#define DIRL 1
#define GRAVEL 2
#define GRAVEWORD mem[0]
#define M(b, i) mem[(b) * 3 + (i)]
byte mem[(NB + 2) * 3]; bool used[NB + 2], dirty[NB + 2]; byte foreign;
byte dirb, rootver, lock[3];
byte op[2], lk[2], old[2], new[2], tg[2], res[2], rtg[2];  /* tg, rtg: index of the target word */
byte seq; bool missok; byte deaths;

#define NAMES(x, b) ((op[x] && (old[x] == b || new[x] == b)) || res[x] == b)
#define FREEB(b) (!used[b] && !NAMES(0, b) && !NAMES(1, b))
#define ST(step) if :: step :: atomic { deaths < KILLS -> deaths++; goto died } fi
#define MINE(b) assert(used[b] && b != foreign)
#define FREE(b) atomic { MINE(b); used[b] = 0; dirty[b] = 1 }
#define AGAIN(b) atomic { if :: used[b] -> assert(b != foreign); used[b] = 0; dirty[b] = 1 :: else fi }
#define CLOSE(x) atomic { op[x] = 0; lk[x] = 0; old[x] = 0; new[x] = 0; tg[x] = 0 }
#define UNRES(x) atomic { res[x] = 0; rtg[x] = 0 }
#define UNLOCK(l) lock[l] = 0
#define TAKE(l) atomic { lock[l] == 0 || lock[l] == DEAD -> t = lock[l]; lock[l] = id + 1 }
inline pick(v) {
  if :: id == 0 -> v = 1; do :: v <= NB && !FREEB(v) -> v++ :: else -> break od; v = (v > NB -> 0 : v)
     :: else -> v = NB; do :: v && !FREEB(v) -> v-- :: else -> break od fi }
inline takeGrave() { ST(TAKE(GRAVEL));
  if :: t == DEAD -> z = (op[0] == FRE -> 0 : 1);
        if :: op[z] == FRE -> if :: mem[tg[z]] != old[z] -> ST(AGAIN(old[z])) :: else fi; ST(CLOSE(z)) :: else fi; z = 0
     :: else fi; t = 0 }
inline push(g, again) { takeGrave();
#ifdef NOLIST
  z = 0;
#else
  atomic { z = (again -> GRAVEWORD : 0); do :: z && z != g -> z = M(z, 2) :: else -> break od };
#endif
  if :: z == 0 -> ST(atomic { MINE(g); M(g, 2) = GRAVEWORD }); ST(GRAVEWORD = g) :: else fi; z = 0;
  ST(UNLOCK(GRAVEL)) }
inline settleDir() { y = (op[0] == MOV || op[0] == SWP -> 0 : 1);
  if :: op[y] == MOV ->
        if :: dirb == new[y] ->
#ifndef REPAIRNOBUMP
              ST(rootver++);
#endif
              ST(AGAIN(old[y]))
           :: else -> assert(dirb == old[y]); ST(AGAIN(new[y])) fi;
        ST(CLOSE(y))
     :: op[y] == SWP ->
        if :: dirb == new[y] ->
#ifndef REPAIRNOBUMP
              ST(rootver++);
#endif
              s = old[y]
           :: else -> assert(dirb == old[y]); s = new[y] fi;
        push(s, 1); s = 0;
        ST(CLOSE(y))
     :: else fi; y = 0 }
inline takeDir() { ST(TAKE(DIRL));
#ifdef OWNLOCK
  if :: t == DEAD && op[0] != SWP && op[1] != SWP -> settleDir() :: else fi; t = 0
#else
  if :: t == DEAD -> settleDir() :: else fi; t = 0
#endif
}
inline take() { ST(TAKE(0)); if :: t == DEAD -> x = (op[0] == REPL -> 0 : 1);
        if :: op[x] == REPL ->
              if :: mem[tg[x]] == new[x] -> ST(mem[tg[x] - 1]++); ST(AGAIN(old[x]))
                 :: else -> assert(mem[tg[x]] == old[x]); ST(AGAIN(new[x])) fi;
              ST(CLOSE(x))
           :: else fi; x = 0
     :: else fi; t = 0 }
inline path() { do :: rv = rootver; s = dirb; s = M(s, 0); if :: rootver == rv -> break :: else fi od; rv = 0 }
inline below(word) {                                    /* b: a block reserved, filled and linked aside */
  ST(atomic { pick(b); assert(b); res[id] = b; used[b] = 1; M(b, 0) = 0; M(b, 1) = 0; M(b, 2) = 0 });
#ifndef LINKALLOC
  ST(rtg[id] = word);
#endif
  ST(mem[word] = b); ST(UNRES(id)) }

proctype P(byte id, ops, mask) { byte n, t, x, y, z, s, a, b, rv, i, what;
life:
#ifdef BUILDFIRST
  if :: op[id] == BUILD -> a = new[id]; push(a, 1); ST(CLOSE(id)); a = 0 :: else fi;
#endif
  if :: res[id] -> if :: rtg[id] == 0 || mem[rtg[id]] != res[id] -> ST(AGAIN(res[id])) :: else fi; ST(UNRES(id)) :: else fi;
  if :: op[id] == BUILD -> a = new[id]; push(a, 1); ST(CLOSE(id)); a = 0
     :: op[id] == ALLOC -> ST(AGAIN(new[id])); ST(CLOSE(id))
     :: op[id] == REPL -> take(); ST(UNLOCK(0))
     :: op[id] == FRE -> takeGrave(); ST(UNLOCK(GRAVEL))
     :: op[id] == MOV || op[id] == SWP -> takeDir();
#ifdef OWNLOCK
        if :: op[id] == SWP -> settleDir() :: else fi;
#endif
        ST(UNLOCK(DIRL))
     :: else fi; assert(!op[id]);
next:
  atomic { if :: n < ops && (mask & STORE0) -> what = STORE0 :: n < ops && (mask & MOVES) -> what = MOVES
     :: n < ops && (mask & SWAPS) -> what = SWAPS :: n < ops && (mask & WORK) -> n++; goto work :: n == ops -> goto done fi; n++ };
  ST(atomic { pick(a); if :: a == 0 -> goto give :: else fi; op[id] = (what == SWAPS -> BUILD : ALLOC); new[id] = a; used[a] = 1;
    M(a, 0) = (what == STORE0); M(a, 1) = (what == STORE0 -> seq + 1 : 0); M(a, 2) = 0 });
  if :: what == MOVES -> goto move :: what == SWAPS -> goto swap :: else fi;
#ifdef NOREREAD
  path(); take();
#else
  take(); path();
#endif
  ST(atomic { MINE(s); M(a, 1) = seq + 1; old[id] = M(s, 1); tg[id] = s * 3 + 1; op[id] = REPL });
  ST(atomic { MINE(s); M(s, 1) = a; seq++ });
  ST(atomic { MINE(s); M(s, 0)++ });
  ST(FREE(old[id])); ST(CLOSE(id)); ST(UNLOCK(0)); goto give;
move:
  takeDir(); atomic { M(a, 0) = M(dirb, 0); M(a, 1) = M(dirb, 1) };
  ST(atomic { old[id] = dirb; lk[id] = DIRL; op[id] = MOV });
  ST(atomic { assert(dirb == old[id]); dirb = a }); ST(rootver++); ST(FREE(old[id])); ST(CLOSE(id)); ST(UNLOCK(DIRL)); goto give;
swap:
  below(a * 3); s = b; ST(M(a, 1) = s);
  below(s * 3 + 1); M(b, 0) = 1; s = 0;
#ifndef NOSTRIPE
  take();
#endif
  takeDir();
  ST(atomic { old[id] = dirb; lk[id] = DIRL; op[id] = SWP });
#ifdef GRAVEFIRST
  push(old[id], 0);
#endif
  ST(atomic { assert(dirb == old[id]); dirb = a; seq++; M(b, 1) = seq; missok = 1 });
#ifdef BUMPLATE
  push(old[id], 0); ST(CLOSE(id));
#endif
  ST(rootver++);
#if !defined(GRAVEFIRST) && !defined(BUMPLATE)
  push(old[id], 0);
#endif
  ST(CLOSE(id)); ST(UNLOCK(DIRL));
#ifndef NOSTRIPE
  ST(UNLOCK(0));
#endif
  goto give;
work: /* one block at a time, lock and unlock */
  takeGrave(); a = GRAVEWORD;
#ifdef NONAMED
  if :: a == 0 -> ST(UNLOCK(GRAVEL)); goto give :: else fi;
#else
  if :: a == 0 || NAMES(0, a) || NAMES(1, a) -> ST(UNLOCK(GRAVEL)); goto give :: else fi;
#endif
#ifndef DUPWORD
  if :: M(a, 1) && M(a, 1) == M(a, 0) -> ST(atomic { MINE(a); M(a, 1) = 0 }) :: else fi;
#endif
  atomic { i = (M(a, 0) -> a * 3 : a * 3 + 1); s = mem[i]; x = 0;
#ifndef PARENTFIRST
    if :: s && M(s, 1) -> i = s * 3 + 1 :: s && !M(s, 1) && M(s, 2) -> i = s * 3 + 2 :: !s -> i = 0; x = M(a, 2) :: else fi;
#else
    if :: !s -> i = 0; x = M(a, 2) :: else fi;
#endif
    s = 0 };
  ST(atomic { lk[id] = GRAVEL; old[id] = mem[i]; tg[id] = i; op[id] = FRE });
  ST(atomic { MINE(a); mem[i] = x }); ST(FREE(old[id]));
  if :: i == 0 -> a = 0 :: else fi; i = 0; x = 0;
  ST(CLOSE(id)); ST(UNLOCK(GRAVEL)); if :: a -> a = 0; goto work :: else fi;
give: atomic { s = 0; a = 0; b = 0; i = 0; x = 0; what = 0; goto next };
died: atomic { i = 0; do :: i < 3 -> if :: lock[i] == id + 1 -> lock[i] = DEAD :: else fi; i++ :: else -> break od;
    t = 0; x = 0; y = 0; z = 0; s = 0; a = 0; b = 0; rv = 0; i = 0; what = 0; goto life };
done: skip }

proctype F() { byte b, n;
  do :: atomic { n < SCR -> n++; b = 1;
          do :: b <= NB && !(FREEB(b) && dirty[b]) -> b++ :: b <= NB && FREEB(b) && dirty[b] -> b++ :: b <= NB && FREEB(b) && dirty[b] -> break :: b > NB -> goto out od;
          if :: M(b, 0) = 0 :: M(b, 1) = BAD :: M(b, 2) = BAD fi;
          if :: b = 0 :: foreign == 0 -> used[b] = 1; foreign = b; b = 0 fi }
     :: n == SCR -> break od;
out: n = 0; b = 0 }
#define WILD(b) ((b) == 0 || (b) > NB)
proctype R() { byte lo, rv, s, v, e, key, val, k; bool wild;
  atomic { if :: k = 0 :: k = 1 fi; lo = seq; rv = rootver };
  s = dirb; s = M(s, k);
  if :: WILD(s) -> wild = 1; goto last :: else fi;
  v = M(s, 0); e = M(s, 1 + k);
  if :: e == 0 :: WILD(e) && e -> wild = 1 :: else -> key = M(e, 0); val = M(e, 1) fi;
  if :: M(s, 0) != v -> goto retry :: else fi;
last:
  atomic {
#ifndef NOROOTVER
    if :: rootver != rv -> goto retry :: else fi;
#endif
    assert(!wild);
    if :: e && key == 1 + k -> assert(k == 1 || (lo <= val && val <= seq)) :: else -> assert(k == 1 && missok) fi };
retry: atomic { lo = 0; rv = 0; s = 0; v = 0; e = 0; key = 0; val = 0; k = 0; wild = 0 } }

inline strike(d) {                                      /* directory d and what it leads to */
  assert(used[d]); used[d] = 0;
  i = 0; do :: i < 2 -> s = M(d, i);
    if :: s && (i == 0 || M(d, 0) != s) -> assert(used[s]); used[s] = 0; k = 0;
          do :: k < 2 -> if :: M(s, 1 + k) -> assert(used[M(s, 1 + k)]); used[M(s, 1 + k)] = 0 :: else fi; k++ :: else -> break od
       :: else fi; i++ :: else -> break od }
init { byte b, i, k, s;
  atomic {                                              /* entries 1, 2; segment 3; directory 4 */
    M(1, 0) = 1; M(1, 1) = 1; M(2, 0) = 2; M(2, 1) = 1; seq = 1;
    b = 1; do :: b <= 4 -> used[b] = 1; b++ :: else -> break od;
    M(3, 1) = 1; M(3, 2) = 2; dirb = 4; M(4, 0) = 3; M(4, 1) = 3;
    b = 0; run P(0, 1, SWAPS); run P(1, N1, A1); run F();
#ifndef NOREADER
    run R()
#endif
  };
  atomic { _nr_pr == 1 ->
    b = 0; do :: b < 2 -> assert(!op[b] && !res[b]); b++ :: else -> break od;
    b = 0; do :: b < 3 -> assert(!lock[b] || lock[b] == DEAD); b++ :: else -> break od;
    s = M(dirb, 0); b = M(s, 1); assert(M(b, 0) == 1 && M(b, 1) == seq && used[b]);
    assert((M(s, 2) == 0) == missok);
    strike(dirb);
    b = GRAVEWORD; do :: b -> strike(b); b = M(b, 2) :: else -> break od;
    b = 1; do :: b <= NB -> assert(!used[b] || b == foreign); b++ :: else -> break od } }

/* chain.pml: chains of buckets in a segment of B buckets with a slot each.  A directory of two words leads to it; a bucket is
 * {version, {mark, tag}, slot}, an entry {key, value}; all are blocks of one pool.  Keys 0 and 1 have bucket 0 for their home,
 * key 2 has HOME2; 0 and 1 have one tag, and one half of the range.  Before it begins there were START stores and deletes, any.
 * Two workers (masks A0, A1: what each may do; N0, N1: how often) store, delete, SPLIT the segment into two, or replace it by
 * one that is LARGER; KILLS of them are killed at any store, also while they repair, and come back as a new process that
 * recovers its slot; whoever meets a lock of the dead settles what it names.  F writes into a free block that no record names,
 * SCR times; R looks a key up, LOOKS times.  One stripe; the tree lock, doublings, counts and who frees what are grow.pml's.
 * TIME: some entries have a deadline, which passes at any moment; a store takes the slot of an expired entry.  BEHIND: one of
 * them lies before one of the same key, as two killed writers leave it.  WATCH: KeyVersion, compared between looks.
 * Promises: a look returns what was current while it lasted, and begins again only if a version was raised meanwhile; nobody
 * stores into a block that is not his; at the end a search finds each key that is there, once, and no other block is in use.
 * Mutations of the reader: NOLEAVECHECK no version before a bucket is left for the next   NOLASTCHECK nor of the last one
 *   VERLATE version after the slot   NOTREECHECK no version of the tree   ORDER that before the bucket's   TAGWAIT begins again
 *   when a tag has no slot   NOLOOKBACK does not look at the slot again after the clock   STOPATOVER ends at an expired entry
 *   LASTVERSION KeyVersion of a miss goes by the last bucket of the chain alone
 * of writers: RAISEFIRST version before the slot   FREEFIRST old entry freed and record closed before the version
 *   REPAIRNORAISE   MARKLATE mark after the slot   MARKHOME only at home   CLEARMARK taken back when an entry further on is
 *   deleted   TAGLATE tag after the slot   LOOKHOME looks for the key at home only   INSERTBLIND the short path of an insertion
 *   does not look at the mark   DEALHOME a split takes the bucket of an entry for its home   DEALWRAP that of bucket 0
 *   DEALNOMARK sets no marks
 * No error: NOMARKRAISE a mark does not raise the version: whoever has seen the bucket without it was there before the entry
 *   LEAVEMATCHED version before a bucket is left only if an entry was looked at   TAGSFIRST tags before the version */
#ifndef B
#define B 2
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef A0
#define A0 KEYS
#endif
#ifndef N0
#define N0 1
#endif
#ifndef A1
#define A1 KEYS
#endif
#ifndef N1
#define N1 0
#endif
#ifndef SCR
#define SCR 1
#endif
#ifndef START
#define START 3
#endif
#ifndef LOOKS
#define LOOKS 1
#endif
#ifndef HOME2
#define HOME2 1
#endif
#define KEYS 7                                          /* what a worker may do: 1, 2, 4: store or delete key 0, 1, 2 */
#define SPLIT 8
#define LARGER 16
#define ALLOC 1                                         /* op of a record */
#define REPL 2
#define SPL 3
#define NB 8
#define DEAD 9
#define NONE 9
#define CELLS (3 * B + 3)
#define M(b, i) mem[(b) * CELLS + (i)]
#define VER(s, i) M(s, 3 * (i))                         /* of bucket i of a segment */
#define TAGS(s, i) M(s, 3 * (i) + 1)
#define SLOT(s, i) M(s, 3 * (i) + 2)
#define MARK 4                                          /* in tags */
#define MARKED(i) (TAGS(s, i) & MARK)
#define TAG(k) (1 + (k) / 2)
#define HOME(k, n) ((n) == B -> ((k) == 2 -> HOME2 : 0) : ((k) == 2 -> HOME2 + 1 : (k)))
#define HALF(k) ((k) / 2)
#define BLOCK(w) ((w) & 15)                             /* of a word of the directory */
#define LEN(w) (B + ((w) >> 4))
#define NEXT(i, n) ((i) + 1 == (n) -> 0 : (i) + 1)
#define TTL 8                                           /* in a value: the entry has a deadline */
#ifdef TIME
#define OVER(v) (((v) & TTL) && now)
bool now;
#else
#define OVER(v) false
#endif
byte mem[(NB + 2) * CELLS]; bool used[NB + 2], dirty[NB + 2];
byte dirw[2], tree;                                     /* words of the directory, version of the tree */
byte lock;                                              /* 0, or 1 + worker, or DEAD */
byte op[2], old[2], new[2], ext[2], res[2], tseg[2], tb[2];
byte cur[3], deaths;                                    /* value of each key, 0: it is not there */
byte rk = NONE; int ok; bool raised, wrote;             /* R's key, its values while R looks; a version was raised; it was written */

#define NAMES(x, b) ((op[x] && (BLOCK(old[x]) == b || BLOCK(new[x]) == b || BLOCK(ext[x]) == b)) || res[x] == b)
#define FREEB(b) (!used[b] && !NAMES(0, b) && !NAMES(1, b))
#define ST(step) if :: step :: atomic { deaths < KILLS -> deaths++; goto died } fi   /* a store, or killed before it */
#define MINE(b) assert(used[b])
#define FREE(b) atomic { MINE(b); used[b] = 0; dirty[b] = 1 }
#define AGAIN(b) atomic { if :: used[b] -> used[b] = 0; dirty[b] = 1 :: else fi }
#define CLOSE(x) atomic { op[x] = 0; old[x] = 0; new[x] = 0; ext[x] = 0; tseg[x] = 0; tb[x] = 0 }
#define UNLOCK lock = 0
#define SET(k, v) cur[k] = v; if :: rk == k -> ok = ok | (1 << (v)); wrote = 1 :: else fi
#define RAISE(s, i) atomic { MINE(s); VER(s, i)++; raised = (rk < NONE) }
#define RAISETREE atomic { tree++; raised = (rk < NONE) }
#define SETTAGS(i, v) atomic { MINE(s); TAGS(s, i) = v }

inline pick(v) {                                        /* else v = 0 */
  if :: id == 0 -> v = 1; do :: v <= NB && !FREEB(v) -> v++ :: else -> break od; v = (v > NB -> 0 : v)
     :: else -> v = NB; do :: v && !FREEB(v) -> v-- :: else -> break od fi }
inline words(x) { ST(dirw[0] = new[x]); ST(dirw[1] = ext[x]) }   /* the first one decides for a repair */
inline settle() { x = (op[0] >= REPL -> 0 : 1);
  if :: op[x] == REPL ->
        if :: SLOT(tseg[x], tb[x]) == new[x] ->
#ifndef REPAIRNORAISE
              ST(RAISE(tseg[x], tb[x]));
#endif
              if :: old[x] -> ST(AGAIN(old[x])) :: else fi
           :: else -> assert(SLOT(tseg[x], tb[x]) == old[x]); if :: new[x] -> ST(AGAIN(new[x])) :: else fi fi;
        ST(CLOSE(x))
     :: op[x] == SPL ->
        if :: dirw[0] == new[x] -> words(x); ST(RAISETREE); ST(AGAIN(BLOCK(old[x])))
           :: else -> assert(dirw[0] == old[x]); ST(AGAIN(BLOCK(new[x]))); ST(AGAIN(BLOCK(ext[x]))) fi;
        ST(CLOSE(x))
     :: else fi; x = 0 }
inline take() { ST(atomic { lock == 0 || lock == DEAD -> t = lock; lock = id + 1 }); if :: t == DEAD -> settle() :: else fi; t = 0 }
inline locate() {                                       /* at = the bucket where the key is, else n */
  at = n; i = HOME(k, n); j = 0;
  do :: j < n -> e = SLOT(s, i);
        if :: e && (TAGS(s, i) & 3) == TAG(k) -> MINE(e); if :: M(e, 0) == 1 + k -> at = i; live = !OVER(M(e, 1)) :: else fi
           :: else fi;
#ifdef LOOKHOME
        break;
#endif
        if :: live || !MARKED(i) -> break :: else i = NEXT(i, n); j++ fi
     :: else -> break od; i = 0; j = 0; e = 0; live = 0 }
inline place(pb) {                                      /* the entry e goes into a new segment, from bucket c on */
  do :: SLOT(pb, c) == 0 -> SLOT(pb, c) = e; TAGS(pb, c) = TAGS(pb, c) | (TAGS(s, i) & 3); break
     :: else ->
#ifndef DEALNOMARK
        TAGS(pb, c) = TAGS(pb, c) | MARK;
#endif
        c = NEXT(c, j) od; c = 0 }
#ifdef DEALHOME
#define FROMAFAR false
#elif defined(DEALWRAP)
#define FROMAFAR (i && MARKED(i - 1))
#else
#define FROMAFAR MARKED((i -> i : n) - 1)
#endif
inline deal() {                                         /* S into a and b, j buckets each; a == b: into one */
  MINE(s); i = 0; do :: i < 3 * j -> M(a, i) = 0; M(b, i) = 0; i++ :: else -> break od; i = 0;
  do :: i < n -> e = SLOT(s, i);
        if :: e -> MINE(e); k = M(e, 0) - 1; c = i;
              if :: j != n || FROMAFAR -> c = HOME(k, j) :: else fi;
              if :: HALF(k) -> place(b) :: else -> place(a) fi
           :: else fi; i++
     :: else -> break od; i = 0; e = 0; k = 0 }
#ifdef MARKHOME
#define PASSED(i) (MARKED(i) || i != HOME(k, n))
#else
#define PASSED(i) MARKED(i)
#endif

proctype P(byte id, ops, mask) { byte did, t, x, s, a, b, w, n, at, far, what, k, i, j, e, c; bool live;
life: /* a new process recovers the slot of the one before */
  atomic { if :: !res[id] && !op[id] -> goto next :: else fi };
  if :: res[id] -> ST(AGAIN(res[id])); ST(res[id] = 0) :: else fi;
  if :: op[id] == ALLOC -> ST(AGAIN(new[id])); ST(CLOSE(id))
     :: op[id] >= REPL -> take(); ST(UNLOCK)
     :: else fi; assert(!op[id]);
next:
  atomic { if :: did < ops && (mask & 1) -> k = 0
     :: did < ops && (mask & 2) -> k = 1
     :: did < ops && (mask & 4) -> k = 2
     :: did < ops && (mask & SPLIT) && dirw[0] == dirw[1] -> what = SPLIT
     :: did < ops && (mask & LARGER) && dirw[0] == dirw[1] && LEN(dirw[0]) == B -> what = LARGER
     :: else -> goto done fi; did++;
     if :: skip :: !what -> goto change fi };            /* delete */
  ST(atomic { pick(a); if :: a == 0 -> goto give :: else fi; op[id] = ALLOC; new[id] = a; used[a] = 1;
    if :: what == SPLIT -> pick(b);
          if :: b == 0 -> used[a] = 0; op[id] = 0; new[id] = 0; goto give :: else -> res[id] = b; used[b] = 1; goto split fi
       :: what == LARGER -> b = a; goto split
       :: else -> M(a, 0) = 1 + k; M(a, 1) = 1 + did + 3 * id
#ifdef TIME
            ; if :: M(a, 1) = M(a, 1) | TTL :: skip fi
#endif
       fi });
change:
  take();
  atomic { w = dirw[HALF(k)]; s = BLOCK(w); n = LEN(w); MINE(s); locate(); i = HOME(k, n);
#ifdef INSERTBLIND
    if :: a && SLOT(s, i) == 0 -> at = i; goto tag :: else fi;
#endif
    if :: at < n -> goto link :: a == 0 && at == n -> goto unlock :: else fi;
    at = i; do :: far == n || SLOT(s, at) == 0 || OVER(M(SLOT(s, at), 1)) -> break :: else -> at = NEXT(at, n); far++ od };
#ifndef MARKLATE
mark: /* the next one of those that are full */
  atomic { do :: j < far && PASSED(i) -> i = NEXT(i, n); j++ :: else -> break od;
    if :: j == far -> if :: far == n -> goto unlock :: else -> goto tag fi :: else fi };
  ST(SETTAGS(i, TAGS(s, i) | MARK));
#ifndef NOMARKRAISE
  ST(RAISE(s, i));
#endif
  goto mark;
#else
  if :: far == n -> goto unlock :: else fi;
#endif
tag:
#ifndef TAGLATE
  ST(SETTAGS(at, MARKED(at) | TAG(k)));
#endif
link:
  ST(atomic { old[id] = SLOT(s, at); new[id] = a; tseg[id] = s; tb[id] = at; op[id] = REPL });
#ifdef RAISEFIRST
  ST(RAISE(s, at));
#endif
  ST(atomic { MINE(s); SLOT(s, at) = a; SET(k, (a && !OVER(M(a, 1)) -> M(a, 1) : 0)) });
#ifdef TAGLATE
  if :: a -> ST(SETTAGS(at, MARKED(at) | TAG(k))) :: else fi;
#endif
#ifdef FREEFIRST
  if :: old[id] -> ST(FREE(old[id])) :: else fi; ST(CLOSE(id));
#endif
#ifndef RAISEFIRST
  ST(RAISE(s, at));
#endif
#ifdef MARKLATE
  do :: j < far -> if :: !MARKED(i) -> ST(SETTAGS(i, TAGS(s, i) | MARK)); ST(RAISE(s, i)) :: else fi; i = NEXT(i, n); j++
     :: else -> break od;
#endif
#ifdef CLEARMARK
  if :: a == 0 && at != i -> ST(SETTAGS(i, TAGS(s, i) & 3)); ST(RAISE(s, i)) :: else fi;
#endif
#ifndef FREEFIRST
  if :: old[id] -> ST(FREE(old[id])) :: else fi; ST(CLOSE(id));
#endif
  ST(UNLOCK); goto give;
split:
  take();
  atomic { w = dirw[0]; s = BLOCK(w); n = LEN(w); if :: dirw[0] != dirw[1] || what == LARGER && n > B -> goto unlock :: else fi;
    j = (what == LARGER -> n + 1 : n); deal(); j = (j > B -> 16 : 0) };
  ST(atomic { old[id] = w; new[id] = a + j; ext[id] = b + j; op[id] = SPL });
  if :: res[id] -> ST(res[id] = 0) :: else fi;
  words(id); ST(RAISETREE); ST(FREE(s)); ST(CLOSE(id)); ST(UNLOCK); goto give;
unlock: ST(UNLOCK);
  if :: res[id] -> ST(FREE(res[id])); ST(res[id] = 0) :: else fi; if :: a -> ST(FREE(a)); ST(CLOSE(id)) :: else fi;
give: atomic { s = 0; a = 0; b = 0; w = 0; n = 0; at = 0; far = 0; what = 0; k = 0; i = 0; j = 0; goto next };
died: atomic { if :: lock == id + 1 -> lock = DEAD :: else fi;
    t = 0; x = 0; s = 0; a = 0; b = 0; w = 0; n = 0; at = 0; far = 0; what = 0; k = 0; i = 0; j = 0; goto life };
done: skip }

#define WRITE(x) atomic { n < SCR && dirty[x] && FREEB(x) -> n++; if :: M(x, 0) = 0 :: M(x, 1) = 31 :: M(x, 1) = 0 :: M(x, 2) = NB + 1 fi }
proctype F() { byte n;                                  /* 31: no value that anybody stores, or a mark and no tag */
end: do :: WRITE(1) :: WRITE(2) :: WRITE(3) :: WRITE(4) :: WRITE(5) :: WRITE(6) :: WRITE(7) :: WRITE(8) od }
#ifdef TIME
proctype T() { byte k; atomic { now = 1; do :: k < 3 -> if :: cur[k] & TTL -> SET(k, 0) :: else fi; k++ :: else -> break od } }
#endif

proctype R() { byte rv, s, n, i, j, v, tags, e, val, looks; bool wild;
#ifdef WATCH
  bool seen, was; byte passed, rv0, i0, v0, e0;
#endif
  atomic { if :: rk = 0 :: rk = 1 :: rk = 2 fi;
look: ok = 1 << cur[rk]; raised = 0; rv = tree
#ifdef WATCH
    ; was = wrote
#endif
    };
  atomic { s = dirw[HALF(rk)]; n = LEN(s); s = BLOCK(s); i = HOME(rk, n) };
chain:
#if !defined(VERLATE) && !defined(TAGSFIRST)
  v = VER(s, i);
#endif
  tags = TAGS(s, i);
#ifdef TAGSFIRST
  v = VER(s, i);
#endif
  atomic { if :: (tags & 3) != TAG(rk) -> tags = tags & MARK; goto leave :: else -> tags = tags & MARK fi };
slot:
  atomic { e = SLOT(s, i);
#ifdef TAGWAIT
    if :: e == 0 -> goto again :: else fi;
#endif
    if :: e == 0 -> goto leave :: e > NB -> wild = 1; goto last :: else fi };
#ifdef VERLATE
  v = VER(s, i);
#endif
  if :: M(e, 0) != 1 + rk -> goto leave :: else fi;
  atomic { val = M(e, 1); if :: !(val & TTL) -> goto last :: else fi };
  atomic { if :: !OVER(val) -> goto last :: else -> val = 0 fi };
#ifdef STOPATOVER
  goto last;
#endif
#ifndef NOLOOKBACK
  if :: SLOT(s, i) != e -> goto slot :: else fi;        /* an entry that is over may have been replaced when it was not */
#endif
leave:
#ifdef LEAVEMATCHED
  if :: e && VER(s, i) != v -> goto again :: else fi;
#elif !defined(NOLEAVECHECK)
  if :: VER(s, i) != v -> goto again :: else fi;
#endif
  atomic { j++;
    if :: tags && j < n ->
#ifdef WATCH
          passed = passed + v;
#endif
          i = NEXT(i, n); e = 0; tags = 0; v = 0; goto chain
       :: else fi };
last:
#ifdef ORDER
  if :: tree != rv -> goto again :: else fi;
#endif
#ifndef NOLASTCHECK
  if :: VER(s, i) != v -> goto again :: else fi;
#endif
  atomic {
#if !defined(NOTREECHECK) && !defined(ORDER)
    if :: tree != rv -> goto again :: else fi;
#endif
    assert(!wild && val <= 15 && (ok & (1 << val)));
#ifdef WATCH
    e = (val -> e : 0);
#ifndef LASTVERSION
    v = (val -> v : v + passed);
#endif
    assert(!seen || rv0 != rv || i0 != i || v0 != v || e0 != e || !was);
    seen = 1; rv0 = rv; i0 = i; v0 = v; e0 = e; wrote = 0;
#endif
    goto over };
again: assert(raised);                                  /* and this model lets it be */
over: atomic { rv = 0; s = 0; n = 0; i = 0; j = 0; v = 0; tags = 0; e = 0; val = 0; wild = 0; ok = 0; looks++;
#ifdef WATCH
    passed = 0;
#endif
    if :: looks < LOOKS -> goto look :: else rk = NONE; wrote = 0; raised = 0 fi } }

init { byte k, i, s, n, c, at, b;
  atomic { used[1] = 1; dirw[0] = 1; dirw[1] = 1;         /* segment 1; entries 2, 3, 4 */
#ifdef BEHIND
    now = 1; used[2] = 1; M(2, 0) = 1; M(2, 1) = 1 + TTL; SLOT(1, 0) = 2; TAGS(1, 0) = MARK | TAG(0);
    used[3] = 1; M(3, 0) = 1; M(3, 1) = 1; SLOT(1, 1) = 3; TAGS(1, 1) = TAG(0); cur[0] = 1;
#else
    do :: n < START && c < B && c < 3 -> if :: !cur[0] -> k = 0 :: !cur[1] -> k = 1 :: !cur[2] -> k = 2 fi;
          n++; c++; cur[k] = 1; used[2 + k] = 1; M(2 + k, 0) = 1 + k; at = HOME(k, B);
#ifdef TIME
          if :: cur[k] = 1 + TTL :: skip fi;
#endif
          M(2 + k, 1) = cur[k];
          do :: SLOT(1, at) -> TAGS(1, at) = TAGS(1, at) | MARK; at = NEXT(at, B) :: else -> break od;
          SLOT(1, at) = 2 + k; TAGS(1, at) = (TAGS(1, at) & MARK) | TAG(k)
       :: n < START && c -> if :: cur[0] -> k = 0 :: cur[1] -> k = 1 :: cur[2] -> k = 2 fi;
          n++; c--; cur[k] = 0; used[2 + k] = 0; at = 0; do :: SLOT(1, at) != 2 + k -> at++ :: else -> break od; SLOT(1, at) = 0;
          M(2 + k, 0) = 0; M(2 + k, 1) = 0
       :: break od;
    k = 0; c = 0; n = 0; at = 0;
#endif
    run F(); run P(0, N0, A0); run P(1, N1, A1);
#ifdef TIME
    run T();
#endif
#ifndef NOREADER
    run R()
#endif
    };
  atomic { _nr_pr == 2 ->                                 /* F does not end */
    b = 0; do :: b < 2 -> assert(!op[b] && !res[b]); b++ :: else -> break od; assert(!lock || lock == DEAD);
    k = 0; do :: k < 3 -> s = BLOCK(dirw[HALF(k)]); n = LEN(dirw[HALF(k)]); i = HOME(k, n); c = 0; at = NONE;
          do :: c < n -> b = SLOT(s, i); assert(!b || used[b]);
                if :: b && (TAGS(s, i) & 3) == TAG(k) && M(b, 0) == 1 + k && !OVER(M(b, 1)) ->
                      assert(M(b, 1) == cur[k] && at == NONE); at = i
                   :: else fi;
                if :: !MARKED(i) -> break :: else fi; i = NEXT(i, n); c++
             :: else -> break od;
          assert((at == NONE) == (cur[k] == 0)); k++
       :: else -> break od;
    k = 0; do :: k < 2 -> s = BLOCK(dirw[k]); n = LEN(dirw[k]); i = 0;   /* strike out what is reachable */
          if :: k == 0 || dirw[0] != dirw[1] -> assert(used[s]); used[s] = 0;
                do :: i < n -> b = SLOT(s, i);
                      if :: b -> assert(used[b] && (OVER(M(b, 1)) || cur[M(b, 0) - 1] == M(b, 1))); used[b] = 0 :: else fi; i++
                   :: else -> break od
             :: else fi; k++
       :: else -> break od;
    b = 1; do :: b <= NB -> assert(!used[b]); b++ :: else -> break od } }

#!/bin/sh
# run.sh [MODEL [-DMUTATION ...]]: without arguments, every model and every mutation that its head names.
# Prints the states visited; a model must have no error, a mutation must have one.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

search() { # model, mutations: exhaustive safety search
	m=$1; shift
	d=$(mktemp -d)
	(cd "$d" && cp "$here/$m.pml" . && spin "$@" -a "$m.pml" >spin.out && gcc -O2 -w -DSAFETY -DCOLLAPSE -DVECTORSZ=1024 -o pan pan.c &&
		./pan -m2000000 -w26 >pan.out) || { cat "$d"/*.out; rm -rf "$d"; exit 2; }
	errors=$(sed -n 's/.*errors: *\([0-9]*\).*/\1/p' "$d/pan.out")
	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$d/pan.out")
	rm -rf "$d"
	printf '%-8s %-10s errors %s, states %s\n' "$m" "${*:-}" "$errors" "$states"
}

expect() { # wanted errors, model, mutations
	want=$1; shift
	search "$@"
	[ "$errors" = "$want" ] || { echo "want errors $want"; exit 1; }
}

if [ $# -gt 0 ]; then search "$@"; exit; fi
expect 0 remove
expect 0 remove -DD=2
for safeguard in NOCHECK NOSAME NOA TRYA LATE; do expect 1 remove -D$safeguard; done
expect 0 magazine
expect 0 magazine -DWOPS=2
expect 0 magazine -DG=2 -DTOPS=0
expect 0 magazine -DREADLATE # not needed: see its head
for safeguard in NOEPOCH EPOCHLATE EPOCHOUT WORDFIRST READCLOSED BUSYPUSH NOQUAR LEAVEFIRST NOBUSY ENTERLATE FIRSTF; do
	expect 1 magazine -D$safeguard
done
expect 1 magazine -DG=2 -DTOPS=0 -DEARLYPOP
expect 1 magazine -DG=2 -DTOPS=0 -DEARLYPOP -DHARM

# growth: double and split; a dead split under a doubling; two stripes; two that split the same; with a second writer
expect 0 grow -DKILLS=0
expect 0 grow -DKILLS=2 -DN1=0
expect 0 grow -DKILLS=2 -DNOREADER
expect 0 grow -DD0=1 -DN0=1
expect 0 grow -DKILLS=2 -DD0=1 -DDMAX=2 -DA0=SPLIT -DN0=1 -DA1=DOUBLE -DNOREADER
expect 0 grow -DSTRIPES=2 -DNB=11 -DD0=2 -DDMAX=2 -DA0=SPLIT -DA1=SPLIT1 -DN0=1
expect 0 grow -DD0=1 -DN0=1 -DA1=SPLIT
expect 0 grow -DKEEP -DD0=1 -DN0=1 # the option that lost
expect 0 grow -DKEEP -DKILLS=0
for safeguard in NOROOTVER BUMPFIRST DBUMPFIRST FREEFIRST DFREEFIRST FREEENTRIES; do
	expect 1 grow -DKILLS=0 -DN1=0 -D$safeguard
done
for safeguard in NOREREAD NOPATHVER LOCKINSEG; do expect 1 grow -DKILLS=0 -DNOREADER -D$safeguard; done
expect 1 grow -DN1=0 -DREPAIRNOBUMP
for safeguard in NORECORD LASTWORD RESLATE; do expect 1 grow -DN1=0 -DNOREADER -D$safeguard; done
expect 1 grow -DKILLS=0 -DD0=1 -DN0=1 -DSCR=2 -DORDER
expect 1 grow -DKILLS=0 -DD0=1 -DDMAX=2 -DA0=SPLIT -DN0=1 -DA1=DOUBLE -DNOREADER -DNODIRLOCK
expect 1 grow -DKILLS=0 -DD0=1 -DN0=1 -DKEEP -DPURGEFIRST

# exchange: beside stores, splits, doublings, a second exchange, another who takes down; two stripes; parts; with a reader
expect 0 swap -DNOREADER -DKILLS=2
expect 0 swap -DNOREADER -DKILLS=2 -DA1=WORK
expect 0 swap -DNOREADER -DKILLS=2 -DD0=1 -DA1=SPLIT
expect 0 swap -DNOREADER -DN1=2 -DA1=DOUBLE+SPLIT
expect 0 swap -DNOREADER -DA1=SWAPS+CLEAR
expect 0 swap -DNOREADER -DN0=2 -DA1=STORE1
expect 0 swap -DNOREADER -DSTRIPES=2 -DNB=11
expect 0 swap -DNOREADER -DSTRIPES=2 -DNB=11 -DA1=STORE1
expect 0 swap -DNOREADER -DPART -DN1=2 -DA1=WORK+STORE0
expect 0 swap -DKILLS=0
expect 0 swap -DKILLS=0 -DA1=DOUBLE
expect 0 swap -DKILLS=0 -DD0=1 -DA1=SPLIT
expect 0 swap -DKILLS=0 -DN0=2 -DN1=0
expect 0 swap -DN1=0
expect 0 swap -DKILLS=0 -DN0=2 -DN1=0 -DCOUNTONLY # harmless: see its head
expect 0 swap -DNOREADER -DTREEDIR
expect 0 swap -DNOREADER -DN0=2 -DA0=CLEAR -DCOUNTALL -DNORESET
expect 0 swap -DNOREADER -DKILLS=2 -DGRACE
expect 0 swap -DNOREADER -DKILLS=2 -DD0=1 -DA1=SPLIT -DGRACE
expect 0 swap -DKILLS=0 -DN0=2 -DN1=0 -DGRACE
expect 1 swap -DKILLS=0 -DNOVER
expect 1 swap -DKILLS=0 -DN0=2 -DN1=0 -DNORAISE
expect 1 swap -DN0=1 -DA0=DOUBLE -DN1=0 -DREPAIRNOBUMP
for safeguard in SIDEONLY NOTREE DBLSIDE; do expect 1 swap -DKILLS=0 -DA1=DOUBLE -D$safeguard; done
expect 1 swap -DNOREADER -DKILLS=0 -DA0=DOUBLE -DNOPATHVER
for safeguard in NOREREAD EARLY NOSTRIPE PARENTFIRST DIRFIRST; do expect 1 swap -DNOREADER -DKILLS=0 -D$safeguard; done
for safeguard in NOREC NOSETTLE LINKALLOC; do expect 1 swap -DNOREADER -DA1=WORK -D$safeguard; done
expect 1 swap -DNOREADER -DNOQUAR
expect 1 swap -DNOREADER -DA1=WORK -DD0=1 -DWORDFIRST
expect 1 swap -DNOREADER -DD0=1 -DA1=SPLIT -DCURSIDE
expect 1 swap -DNOREADER -DN1=2 -DA1=SWAPS+STORE0 -DSKIPEMPTY
expect 1 swap -DNOREADER -DKILLS=0 -DN0=2 -DA0=CLEAR -DN1=0 -DNORESET

# iterations over a content that is exchanged
expect 0 walk
for safeguard in NOGONE GONELAST VERFIRST NOTAKEN; do expect 1 walk -D$safeguard; done

# writes over an entry by way of a spare block
expect 0 spare
expect 0 spare -DKILLS=3 -DLOOKS=1
expect 0 spare -DSPAREFIRST # harmless: see its head
for safeguard in NOVER REPAIRNOVER REPAIRNOSPARE FREENEW KEEPNEW NORECORD EARLYFILL NOLOOK; do expect 1 spare -D$safeguard; done

# chains of buckets: one writer; two, and a reader; splits; repairs without a reader; three buckets; deadlines; KeyVersion
expect 0 chain
expect 0 chain -DKILLS=0 -DN0=2
expect 0 chain -DKILLS=0 -DN1=1 -DSTART=2
expect 0 chain -DKILLS=0 -DN0=2 -DA0=KEYS+SPLIT+LARGER
expect 0 chain -DKILLS=0 -DN1=1 -DA0=SPLIT+LARGER
expect 0 chain -DKILLS=2 -DN0=2 -DA0=SPLIT+LARGER -DSTART=2
expect 0 chain -DNOREADER -DKILLS=2 -DN1=1
expect 0 chain -DNOREADER -DN0=2 -DN1=1 -DA0=KEYS+SPLIT+LARGER -DA1=1 -DSTART=2
expect 0 chain -DB=3
expect 0 chain -DB=3 -DHOME2=0
expect 0 chain -DB=3 -DHOME2=0 -DKILLS=0 -DN0=2 -DSTART=2
expect 0 chain -DTIME -DKILLS=0
expect 0 chain -DTIME -DSTART=2 -DA0=3
expect 0 chain -DTIME -DBEHIND
expect 0 chain -DTIME -DBEHIND -DKILLS=0 -DN0=2
expect 0 chain -DWATCH -DLOOKS=2 -DSCR=0 -DKILLS=0 -DN0=2
for harmless in NOMARKRAISE LEAVEMATCHED TAGSFIRST; do # see its head
	expect 0 chain -DKILLS=0 -DN0=2 -D$harmless
	expect 0 chain -DB=3 -DHOME2=0 -D$harmless
done
expect 0 chain -DWATCH -DLOOKS=2 -DSCR=0 -DKILLS=0 -DN0=2 -DNOMARKRAISE
for safeguard in NOLEAVECHECK NOLASTCHECK VERLATE TAGWAIT RAISEFIRST FREEFIRST; do expect 1 chain -DKILLS=0 -D$safeguard; done
expect 1 chain -DKILLS=0 -DN0=2 -DA0=KEYS+SPLIT -DNOTREECHECK
expect 1 chain -DKILLS=0 -DN0=2 -DA0=KEYS+SPLIT -DSCR=2 -DORDER
expect 1 chain -DREPAIRNORAISE
for safeguard in MARKLATE TAGLATE; do expect 1 chain -DNOREADER -D$safeguard; done
for safeguard in LOOKHOME INSERTBLIND; do expect 1 chain -DNOREADER -DKILLS=0 -D$safeguard; done
for safeguard in MARKHOME CLEARMARK; do expect 1 chain -DNOREADER -DKILLS=0 -DB=3 -DHOME2=0 -D$safeguard; done
for safeguard in DEALHOME DEALNOMARK; do expect 1 chain -DNOREADER -DKILLS=0 -DA0=SPLIT -D$safeguard; done
expect 1 chain -DNOREADER -DKILLS=0 -DA0=SPLIT -DSTART=4 -DDEALWRAP
expect 1 chain -DKILLS=0 -DTIME -DNOLOOKBACK
expect 1 chain -DKILLS=0 -DTIME -DBEHIND -DSTOPATOVER
expect 1 chain -DWATCH -DLOOKS=2 -DSCR=0 -DKILLS=0 -DN0=2 -DLASTVERSION

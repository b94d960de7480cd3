#!/usr/bin/env bash
# A real Slurm on this machine alone, to develop and test against: controller, accounting, two nodes.
#
#   slurm/dev-cluster.sh up       install what lacks, start what does not run, wait until the nodes are idle
#   slurm/dev-cluster.sh stop     cancel its jobs and end its daemons
#   slurm/dev-cluster.sh status   which daemons run; exit code 0 when all do
#   slurm/dev-cluster.sh env      what a shell must export:  eval "$(slurm/dev-cluster.sh env)"
#
# Debian or Ubuntu, as root. No systemd, no cgroups, nothing in /etc: all state lies in KDBENCH_SLURM_ROOT.
# The nodes n1 and n2 are this machine twice. Their 8 CPUs and 2 GPUs each are invented (a GPU is a link to
# /dev/null: jobs get CUDA_VISIBLE_DEVICES, and torch falls back to the CPU). Two partitions: dev, and urgent,
# which preempts dev. The QOS few takes 2 jobs at a time.
set -euo pipefail

ROOT=${KDBENCH_SLURM_ROOT:-${TMPDIR:-/tmp}/kdbench-slurm}
PORT=${KDBENCH_SLURM_PORT:-17817}   # the first of 14 on the loopback interface
CONF=$ROOT/etc/slurm.conf
HOST=$(hostname -s 2>/dev/null || cat /proc/sys/kernel/hostname)
OWNER=$(id -un)
PACKAGES=(slurm-wlm slurmdbd munge mariadb-server-core mariadb-client-core)
NODES=(n1 n2)
export PATH=$PATH:/usr/sbin:/sbin

say() { printf 'dev-cluster: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# --- daemons: each is known by its pid file; a zombie, or another program with that number, is not it
running() { # name program
	local pid
	pid=$(cat "$ROOT/pid/$1.pid" 2>/dev/null) || return 1
	[ -n "$pid" ] && [[ $(cat "/proc/$pid/comm" 2>/dev/null) == "$2"* ]] || return 1
	! grep -q '^State:[[:space:]]*[ZX]' "/proc/$pid/status"
}

end() { # name program
	running "$1" "$2" || return 0
	local pid
	pid=$(cat "$ROOT/pid/$1.pid")
	kill "$pid"
	for _ in $(seq 100); do running "$1" "$2" || break; sleep 0.1; done
	if running "$1" "$2"; then kill -KILL "$pid"; fi
	rm -f "$ROOT/pid/$1.pid"
}

until_works() { # seconds, what is waited for, command...
	local last=$((SECONDS + $1)) what=$2
	shift 2
	until timeout 10 "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $last ] || die "$what does not answer; see $ROOT/log"
		sleep 0.1
	done
}

install_packages() {
	local missing=() name
	for name in "${PACKAGES[@]}"; do
		dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] || die "only root can install ${missing[*]}"
	command -v apt-get >/dev/null || die "no apt-get here to install ${missing[*]} with"
	say "installing ${missing[*]}"
	local install=(apt-get install -y --no-install-recommends "${missing[@]}")
	export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # RUNLEVEL: the packages start nothing themselves
	"${install[@]}" >"$ROOT/log/apt.log" 2>&1 && return 0
	{ apt-get update && "${install[@]}"; } >>"$ROOT/log/apt.log" 2>&1 || die "apt-get failed; see $ROOT/log/apt.log"
}

write_slurm_conf() {
	local loopback=""
	# with these the daemons listen on the host name's address alone: right only where that is the loopback
	[ "$(getent ahostsv4 "$HOST" | awk 'NR == 1 {print $1}')" = 127.0.0.1 ] \
		&& loopback="CommunicationParameters=NoCtldInAddrAny,NoInAddrAny"
	local memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) * 9 / 10 / 1024 / ${#NODES[@]}))
	cat >"$CONF" <<-END
	ClusterName=kdbench
	SlurmctldHost=$HOST(127.0.0.1)
	SlurmUser=$OWNER
	SlurmdUser=$OWNER
	AuthType=auth/munge
	# a requeued job may start again after cred_expire seconds (120 unless said)
	AuthInfo=socket=$ROOT/munge/socket,cred_expire=5
	CredType=cred/munge
	SlurmctldPort=$PORT
	SlurmctldPidFile=$ROOT/pid/slurmctld.pid
	SlurmctldLogFile=$ROOT/log/slurmctld.log
	StateSaveLocation=$ROOT/state
	SlurmdPidFile=$ROOT/pid/%n.pid
	SlurmdLogFile=$ROOT/log/%n.log
	SlurmdSpoolDir=$ROOT/spool/%n
	ProctrackType=proctrack/linuxproc
	TaskPlugin=task/none
	JobAcctGatherType=jobacct_gather/linux
	MpiDefault=none
	SwitchType=switch/none
	$loopback
	SelectType=select/cons_tres
	SelectTypeParameters=CR_Core_Memory
	DefMemPerCPU=512
	SlurmdParameters=config_overrides
	ReturnToService=2
	JobRequeue=1
	KillWait=2
	# with MessageTimeout: after so many seconds a job is missed whose batch script is gone (20 unless said)
	BatchStartTimeout=1
	MinJobAge=3600
	SchedulerType=sched/backfill
	SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,bf_continue
	SlurmdTimeout=30
	SlurmctldTimeout=30
	PreemptType=preempt/partition_prio
	PreemptMode=REQUEUE
	GresTypes=gpu
	AccountingStorageType=accounting_storage/slurmdbd
	AccountingStorageHost=127.0.0.1
	AccountingStoragePort=$((PORT + 2))
	AccountingStoragePass=$ROOT/munge/socket
	AccountingStorageTRES=gres/gpu
	AccountingStorageEnforce=limits,qos
	NodeName=n[1-2] NodeHostname=$HOST NodeAddr=127.0.0.1 Port=[$((PORT + 11))-$((PORT + 12))] CPUs=8 RealMemory=$memory Gres=gpu:2
	PartitionName=dev Nodes=ALL Default=YES DefaultTime=10 PriorityTier=1 PreemptMode=REQUEUE
	PartitionName=urgent Nodes=ALL DefaultTime=10 PriorityTier=10 PreemptMode=OFF
	END
	echo "NodeName=n[1-2] Name=gpu File=$ROOT/gpu/nvidia[0-1]" >"$ROOT/etc/gres.conf"
}

write_other_conf() {
	cat >"$ROOT/etc/slurmdbd.conf" <<-END
	AuthType=auth/munge
	AuthInfo=socket=$ROOT/munge/socket
	DbdHost=$HOST
	DbdAddr=127.0.0.1
	DbdPort=$((PORT + 2))
	SlurmUser=$OWNER
	PidFile=$ROOT/pid/slurmdbd.pid
	LogFile=$ROOT/log/slurmdbd.log
	StorageType=accounting_storage/mysql
	StorageHost=localhost
	StorageUser=root
	StorageLoc=kdbench_slurm
	END
	chmod 600 "$ROOT/etc/slurmdbd.conf"
	# the database is reached through a socket in a folder that only its owner may enter; it has no port
	cat >"$ROOT/etc/mariadb.cnf" <<-END
	[mariadbd]
	user=$OWNER
	datadir=$ROOT/database
	socket=$ROOT/database/socket
	pid-file=$ROOT/pid/mariadbd.pid
	log-error=$ROOT/log/mariadbd.log
	skip-networking
	skip-name-resolve
	skip-log-bin
	innodb_use_native_aio=0
	innodb_buffer_pool_size=64M
	innodb_log_file_size=32M
	innodb_lock_wait_timeout=900
	innodb_flush_log_at_trx_commit=0
	END
}

prepare() {
	mkdir -p "$ROOT"/{etc,log,pid,state,spool/n1,spool/n2,munge,gpu,database}
	chmod 755 "$ROOT" "$ROOT/munge"
	chmod 700 "$ROOT/state" "$ROOT/database"
	[ -s "$ROOT/munge/key" ] || (umask 377 && head -c 128 /dev/urandom >"$ROOT/munge/key")
	ln -sfn /dev/null "$ROOT/gpu/nvidia0"
	ln -sfn /dev/null "$ROOT/gpu/nvidia1"
	write_slurm_conf
	write_other_conf
}

start_munge() {
	running munged munged && return 0
	rm -f "$ROOT"/munge/socket*
	munged --key-file="$ROOT/munge/key" --socket="$ROOT/munge/socket" --pid-file="$ROOT/pid/munged.pid" \
		--log-file="$ROOT/log/munged.log" --seed-file="$ROOT/munge/seed"
	until_works 20 munged munge -n -S "$ROOT/munge/socket"
}

start_database() {
	running mariadbd mariadbd && return 0
	[ -d "$ROOT/database/mysql" ] || mariadb-install-db --no-defaults --user="$OWNER" \
		--datadir="$ROOT/database" --skip-test-db --auth-root-authentication-method=normal \
		--innodb-log-file-size=32M --innodb-use-native-aio=0 >"$ROOT/log/database.log" 2>&1 \
		|| die "the database cannot be made; see $ROOT/log/database.log"
	rm -f "$ROOT/database/socket"
	setsid mariadbd --defaults-file="$ROOT/etc/mariadb.cnf" </dev/null >>"$ROOT/log/mariadbd.out" 2>&1 &
	until_works 90 mariadbd mariadb --no-defaults -u root -S "$ROOT/database/socket" -e 'select 1'
}

start_accounting() {
	running slurmdbd slurmdbd && return 0
	MYSQL_UNIX_PORT=$ROOT/database/socket slurmdbd </dev/null
	until_works 90 slurmdbd sacctmgr -n show cluster
	[ -e "$ROOT/state/associations" ] && return 0
	sacctmgr -i add cluster kdbench >/dev/null 2>&1 || true
	sacctmgr -i add account kdbench Description=kdbench Organization=kdbench >/dev/null
	sacctmgr -i add qos few set MaxSubmitJobsPerUser=2 >/dev/null
	sacctmgr -i add user "$OWNER" Account=kdbench >/dev/null 2>&1 || true
	sacctmgr -i modify user "$OWNER" set DefaultAccount=kdbench QOS=normal,few DefaultQOS=normal >/dev/null
	touch "$ROOT/state/associations"
}

idle() {
	local drained
	# a drained node stays so over a restart of the daemons
	drained=$(sinfo -h -N -t drain,down -o %N | sort -u | paste -sd,)
	[ -z "$drained" ] || scontrol update nodename="$drained" state=resume || true
	[ "$(sinfo -h -N -p dev -o '%N %T' | grep -cE ' (idle|mixed|allocated|completing)$')" = ${#NODES[@]} ]
}

up() {
	mkdir -p "$ROOT/log"
	install_packages
	running slurmctld slurmctld || prepare
	start_munge
	start_database
	start_accounting
	running slurmctld slurmctld || slurmctld </dev/null
	until_works 60 slurmctld scontrol ping
	local node
	for node in "${NODES[@]}"; do running "$node" slurmd || slurmd -N "$node" </dev/null; done
	local last=$((SECONDS + 90))
	until idle 2>/dev/null; do
		[ $SECONDS -lt $last ] || die "the nodes are not idle; see $ROOT/log"
		sleep 0.1
	done
	say "up: $(sinfo -h -o '%P %D nodes %G' | paste -sd';')"
}

stop() {
	local jobs node
	if running slurmctld slurmctld; then
		jobs=$(timeout 10 squeue -h -o %A 2>/dev/null | sort -u) || true
		# shellcheck disable=SC2086 # one word per job
		[ -z "$jobs" ] || timeout 30 scancel $jobs || true
		for _ in $(seq 100); do [ -n "$(timeout 10 squeue -h 2>/dev/null)" ] || break; sleep 0.1; done
	fi
	for node in "${NODES[@]}"; do end "$node" slurmd; done
	end slurmctld slurmctld
	end slurmdbd slurmdbd
	end mariadbd mariadbd
	end munged munged
}

status() {
	local name code=0
	for name in munged mariadbd slurmdbd slurmctld "${NODES[@]}"; do
		local program=$name
		[[ $name == n? ]] && program=slurmd
		if running "$name" "$program"; then echo "$name runs"; else echo "$name does not run"; code=1; fi
	done
	return $code
}

export SLURM_CONF=$CONF
case ${1:-} in
	up) up ;;
	stop) stop ;;
	status) status ;;
	env) echo "export SLURM_CONF=$CONF" ;;
	*) sed -n '2,/^$/{/^#/p}' "$0" | cut -c3- >&2; exit 2 ;;
esac

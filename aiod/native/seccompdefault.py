"""The seccomp profile of a container that asks for none.

Owns which system calls a container may make, as data: by topic, by capability and by
architecture. Must not know how a filter is made. What is allowed is what Docker's documentation
says its own default allows ("Seccomp security profiles for Docker"): everything but what reaches
past the container's namespaces, takes a capability it does not have, or has been a way out
(keyrings, io_uring, userfaultfd, vsock). Everything not named here is "operation not permitted".
"""

import errno

from aiod.native import spec

_ALLOW, _ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"

_TOPICS = {
    "files": """
        access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3
        faccessat faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2
        fchown fchown32 fchownat fcntl fcntl64 fdatasync flock fstat fstat64 fstatat64 fstatfs
        fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 ioctl lchown
        lchown32 link linkat _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat
        name_to_handle_at newfstatat open openat openat2 readahead readlink readlinkat rename
        renameat renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs statfs64 statx
        symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask unlink
        unlinkat utime utimensat utimensat_time64 utimes vmsplice
    """,
    "reading and writing": """
        io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit
        pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readv write writev
    """,
    "extended attributes": """
        fgetxattr flistxattr fremovexattr fsetxattr getxattr lgetxattr listxattr llistxattr
        lremovexattr lsetxattr removexattr setxattr
    """,
    "waiting for events": """
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
        epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init
        inotify_init1 inotify_rm_watch _newselect poll ppoll ppoll_time64 pselect6
        pselect6_time64 select signalfd signalfd4
    """,
    "memory": """
        brk cachestat get_thread_area madvise map_shadow_stack membarrier memfd_create
        memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap msync munlock
        munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages
        set_thread_area
    """,
    "processes": """
        execve execveat exit exit_group fork getpgid getpgrp getpid getppid getsid gettid kill
        pidfd_open pidfd_send_signal prctl process_vm_readv process_vm_writev ptrace
        restart_syscall seccomp set_tid_address setpgid setsid tgkill tkill vfork wait4 waitid
        waitpid landlock_add_rule landlock_create_ruleset landlock_restrict_self rseq
    """,
    "limits and scheduling": """
        getcpu getpriority getrlimit getrusage ioprio_get ioprio_set prlimit64
        sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
        sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
        sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
        setpriority setrlimit ugetrlimit
    """,
    "identity": """
        capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32
        getresgid getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid
        setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid
        setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32
    """,
    "signals": """
        pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
        rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack
        sigprocmask sigreturn
    """,
    "locks": """
        futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list
        set_robust_list
    """,
    "time": """
        adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64
        clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer
        gettimeofday nanosleep setitimer time timer_create timer_delete timer_getoverrun
        timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
        timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times
    """,
    "sockets and pipes": """
        accept accept4 bind connect getpeername getsockname getsockopt listen pipe pipe2 recv
        recvfrom recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt
        shutdown socketcall socketpair
    """,
    "queues, semaphores and shared memory": """
        ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
        mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
        semtimedop_time64 shmat shmctl shmdt shmget
    """,
    "system": "getrandom sysinfo uname",
}

_BY_CAPABILITY = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount
        mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
        sethostname setns syslog umount umount2 unshare
    """,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}

# By the machine's name, as uname(2) has it: the filter's architectures and calls only it has.
_MACHINES = {
    "x86_64": (("X86_64", "X86", "X32"), "arch_prctl modify_ldt"),
    "aarch64": (
        ("AARCH64", "ARM"),
        "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    ),
    "ppc64le": (("PPC64LE",), "swapcontext sync_file_range2"),
    "s390x": (("S390X", "S390"), "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"),
    "riscv64": (("RISCV64",), "riscv_flush_icache"),
}

_AF_VSOCK = 40  # addresses the host, whatever the network namespace
# personality(2): PER_LINUX, PER_LINUX32, each also with UNAME26, and the question which it is.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
# CLONE_NEW{NS,UTS,IPC,USER,PID,NET,CGROUP} of clone(2)
_NEW_NAMESPACES = 0x7E020000


def default_profile(capabilities: tuple[str, ...], machine: str) -> spec.Seccomp:
    """The profile of a container that holds `capabilities` on a `machine` such as `x86_64`.

    A machine that is not known gets the filter of its own architecture alone.
    """
    architectures, special = _MACHINES.get(machine, ((), ""))
    names = " ".join(_TOPICS.values()).split() + special.split()
    for capability in sorted(set(capabilities) & set(_BY_CAPABILITY)):
        names += _BY_CAPABILITY[capability].split()
    rules = [
        spec.SeccompSyscalls(tuple(dict.fromkeys(names)), _ALLOW),
        _allow("socket", spec.SeccompArg(0, _AF_VSOCK, "SCMP_CMP_NE")),
        *(
            _allow("personality", spec.SeccompArg(0, value, "SCMP_CMP_EQ"))
            for value in _PERSONALITIES
        ),
    ]
    if "CAP_SYS_ADMIN" not in capabilities:
        # clone3 has its flags in memory, where no filter sees them; the C library falls back.
        flags = 1 if machine.startswith("s390") else 0
        rules += [
            _allow("clone", spec.SeccompArg(flags, _NEW_NAMESPACES, "SCMP_CMP_MASKED_EQ", 0)),
            spec.SeccompSyscalls(("clone3",), _ERRNO, errno.ENOSYS),
        ]
    return spec.Seccomp(
        _ERRNO,
        default_errno_ret=errno.EPERM,
        architectures=tuple(f"SCMP_ARCH_{name}" for name in architectures),
        syscalls=tuple(rules),
    )


def _allow(name: str, arg: spec.SeccompArg) -> spec.SeccompSyscalls:
    return spec.SeccompSyscalls((name,), _ALLOW, args=(arg,))

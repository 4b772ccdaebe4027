"""What touches the kernel: the container runtime, cgroups, seccomp, and the shim's core in C."""

/* The first process of a container that was asked for with HostConfig.Init: starts the command as
 * its child, passes signals on to it, reaps whatever becomes its own, and leaves with the command's
 * status: 128 + N for signal N; 126 or 127 for what cannot be executed, or is not there.
 *
 * Owns nothing but that; must not know the engine. Linked statically: it runs in any root. */

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { USAGE = 125, NOT_EXECUTABLE = 126, NOT_FOUND = 127, SIGNALLED = 128 };

/* Of a fault of our own: what is blocked then would only come again. */
static const int own[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS};

static int complain(const char *what)
{
    fprintf(stderr, "docker-init: %s: %s\n", what, strerror(errno));
    return errno == ENOENT ? NOT_FOUND : NOT_EXECUTABLE;
}

/* The child: in a process group of its own, in front of the terminal if there is one. */
static int execute(char **command, const sigset_t *mask)
{
    setpgid(0, 0);
    tcsetpgrp(STDIN_FILENO, getpgrp()); /* no terminal is no matter */
    signal(SIGTTOU, SIG_DFL);
    signal(SIGTTIN, SIG_DFL);
    if (sigprocmask(SIG_SETMASK, mask, NULL) < 0)
        return complain("sigprocmask");
    execvp(command[0], command);
    return complain(command[0]);
}

/* Reaps all that have ended; whether the child was among them, and its status then. */
static int reap(pid_t child, int *status)
{
    pid_t ended;
    int how, over = 0;

    while ((ended = waitpid(-1, &how, WNOHANG)) > 0)
        if (ended == child) {
            *status = WIFSIGNALED(how) ? SIGNALLED + WTERMSIG(how) : WEXITSTATUS(how);
            over = 1;
        }
    return over;
}

static int watch(pid_t child, const sigset_t *all)
{
    int status = 0;

    for (;;) {
        siginfo_t info;
        int number = sigwaitinfo(all, &info);

        if (number < 0) {
            if (errno == EINTR)
                continue;
            return complain("sigwaitinfo");
        }
        if (number != SIGCHLD)
            kill(child, number); /* it may have ended: then that is the next signal */
        else if (reap(child, &status))
            return status;
    }
}

int main(int argc, char **argv)
{
    char **command = argv + 1;
    sigset_t all, before;
    pid_t child;

    if (argc > 1 && strcmp(*command, "--") == 0)
        command++;
    if (!*command) {
        fputs("usage: docker-init [--] COMMAND [ARGUMENT...]\n", stderr);
        return USAGE;
    }
    sigfillset(&all);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        sigdelset(&all, own[i]);
    if (sigprocmask(SIG_SETMASK, &all, &before) < 0)
        return complain("sigprocmask");
    /* The terminal is the child's: to be in the background must not stop us. */
    signal(SIGTTOU, SIG_IGN);
    signal(SIGTTIN, SIG_IGN);
    child = fork();
    if (child < 0)
        return complain("fork");
    if (child == 0)
        return execute(command, &before);
    return watch(child, &all);
}

/** The file name of the helper, which is also what its processes are called until they execute something else (proc_pid_comm(5)). */
export const HELPER_NAME = "cloche-init";

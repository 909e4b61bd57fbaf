/** Words of the settings of level `sandboxed`, without what they load. */

/** How files of the host get into a sandbox: as mounts of the kernel's, served by a gofer, or as fits best. */
export const FILE_ACCESS = ["auto", "donated", "served"] as const;
export type FileAccess = (typeof FILE_ACCESS)[number];

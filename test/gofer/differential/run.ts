/**
 * Makes random operations on two directories, one plain and one served by a gofer, and compares what comes of each: result or
 * error, data, attributes, which times moved. Ends with 1 at the first difference, and says which.
 *
 *     bun test/gofer/differential/run.ts SEED COUNT PLAIN SERVED [cached]
 *
 * It does without CAP_FSETID, as every container in a user namespace does: with it, set-user-ID survives writing.
 */
import { Driver, dropFsetid } from "./driver.ts";

const [seed = "1", count = "1000", plain = "", served = "", cached] = process.argv.slice(2);
dropFsetid();
const driver = new Driver(Number(seed), plain, served, cached === "cached");
const difference = driver.run(Number(count));
console.log(difference ?? driver.summary());
process.exitCode = difference === undefined ? 0 : 1;

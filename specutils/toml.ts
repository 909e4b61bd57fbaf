/** TOML, with a reason of one line when it is none. */

/**
 * @param invalid makes the error from a reason, which names line and column
 * @throws what `invalid` makes
 */
export async function parseToml(
  text: string,
  invalid: (reason: string, cause: unknown) => Error,
): Promise<Record<string, unknown>> {
  const { parse, TomlError } = await import("smol-toml");
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) {
      throw error;
    }
    // The library's message goes on with an excerpt of the file, over several lines.
    const reason = error.message.split("\n", 1)[0]?.replace(/^Invalid TOML document: /, "");
    throw invalid(`line ${error.line}, column ${error.column}: ${reason}`, error);
  }
}

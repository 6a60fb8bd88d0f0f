/** Every file of src/methods by id, put together by esbuild.mjs. */
declare module 'methods:all' {
  // A declaration of a module that no file holds: it has no place for an import of its own, nor for a name.
  // eslint-disable-next-line @typescript-eslint/consistent-type-imports
  const methods: Record<string, import('./method').Method>;
  // eslint-disable-next-line no-restricted-syntax
  export default methods;
}
